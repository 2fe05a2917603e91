"""The evaluations of a training run: what they found, which was best, and what they export.

`evaluations.jsonl` in model_dir has a line for each, which early stopping and `--checkpoint=best` go by. Those of
--task_type=eval do not enter it: looking at a model does not change its training.
"""

from __future__ import annotations

import json
import math
import os
from typing import Any, NamedTuple

import tensorflow as tf

import storage
from storage import contents
from trainer.exporters import is_better

EVALUATIONS_FILE = "evaluations.jsonl"
BEST_DIR = "best"
_PREFIX = "model.ckpt-"
_CHECKPOINT_STATE = "checkpoint"


class Evaluated(NamedTuple):
    """One evaluation: at a step, on a set of impressions, with the value of a metric (NaN: absent)."""

    step: int
    impressions: int
    data: int
    metrics: dict[str, float]

    def value(self, metric: str) -> float:
        """Of a metric; NaN where the data did not determine it."""
        return self.metrics.get(metric, math.nan)


def read(model_dir: str) -> list[Evaluated]:
    """All evaluations of the folder's training, oldest first."""
    path = storage.join(model_dir, EVALUATIONS_FILE)
    if not storage.exists(path):
        return []
    lines = storage.read(path).splitlines()
    with contents.taken_apart(path, "delete it, and the history of evaluations begins anew"):
        return [Evaluated(**json.loads(line)) for line in lines]


def add(model_dir: str, found: Evaluated) -> None:
    """Keeps an evaluation. Those of later steps were of a run whose checkpoints were lost, and go."""
    kept = [one for one in read(model_dir) if one.step < found.step or one.data != found.data] + [found]
    text = "".join(json.dumps(one._asdict()) + "\n" for one in kept)
    storage.write(storage.join(model_dir, EVALUATIONS_FILE), [text.encode("utf-8")])


def same_data(model_dir: str, data: int) -> list[Evaluated]:
    """Evaluations on the same test set: only their values can be compared."""
    return [one for one in read(model_dir) if one.data == data]


def without_gain(found: list[Evaluated], metric: str) -> int:
    """Evaluations since the best one; those whose data did not determine the metric do not count."""
    best, since = math.nan, 0
    for value in (one.value(metric) for one in found):
        if math.isnan(value):
            continue
        since = 0 if is_better(metric, value, best) else since + 1
        best = value if since == 0 else best
    return since


def is_best(found: list[Evaluated], metric: str) -> bool:
    """Whether the last evaluation is better than all before it."""
    return bool(found) and without_gain(found, metric) == 0 and not math.isnan(found[-1].value(metric))


def checkpoint_name(step: int) -> str:
    """File name of the checkpoint of a step."""
    return f"{_PREFIX}{step}"


def keep_best(model_dir: str, checkpoint: str) -> None:
    """Copies a checkpoint to MODEL_DIR/best, in place of the one that is there."""
    folder = storage.join(model_dir, BEST_DIR)
    old = _files_of_best(model_dir)
    new = _copy(checkpoint, storage.join(folder, os.path.basename(checkpoint)))
    for path in set(old) - set(new):
        storage.remove(path)


def best(model_dir: str) -> str | None:
    """The checkpoint that `keep_best` kept."""
    indexes = [path for path in _files_of_best(model_dir) if path.endswith(".index")]
    return indexes[-1].removesuffix(".index") if indexes else None


def restore_best(model_dir: str) -> str | None:
    """Makes the best checkpoint the latest one of model_dir; the later ones go."""
    found, state = best(model_dir), tf.train.get_checkpoint_state(model_dir)
    if found is None or state is None:
        return None
    target = storage.join(model_dir, os.path.basename(found))
    _copy(found, target)
    name = os.path.basename(target)
    # As TensorFlow writes it, with a name that holds wherever the folder is moved.
    text = f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n'
    storage.write(storage.join(model_dir, _CHECKPOINT_STATE), [text.encode("utf-8")])
    for path in state.all_model_checkpoint_paths:
        later = storage.join(model_dir, os.path.basename(path))
        if later != target and os.path.basename(path).startswith(_PREFIX):
            for name in _files_of(later):
                storage.remove(name)
    return target


def _files_of_best(model_dir: str) -> list[str]:
    folder = storage.join(model_dir, BEST_DIR)
    return [storage.join(folder, name) for name in sorted(storage.names_in(folder)) if name.startswith(_PREFIX)]


def _files_of(checkpoint: str) -> list[str]:
    """Paths of a checkpoint's files, its index last: without that it is none."""
    folder, name = os.path.split(checkpoint)
    found = [storage.join(folder, one) for one in storage.names_in(folder) if one.startswith(f"{name}.")]
    return sorted(found, key=lambda path: path.endswith(".index"))


def _copy(source: str, target: str) -> list[str]:
    paths = _files_of(source)
    made = [target + path.removeprefix(source) for path in paths]
    storage.copy_many(paths[:-1], made[:-1])
    storage.copy_many(paths[-1:], made[-1:])
    return made


def as_numbers(result: dict[str, Any]) -> dict[str, float]:
    """The finite scalars of what `Estimator.evaluate` gave."""
    return {
        name: float(value) for name, value in result.items() if getattr(value, "ndim", 0) == 0 and math.isfinite(value)
    }
