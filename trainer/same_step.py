"""A checkpoint that takes the place of one of the same step, as at the start and the end of a run.

TensorFlow writes the new one file by file over the old one, so that a kill in between would leave none that can be
read. The old one is kept under another path, which is the latest until the new one is whole.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

import tensorflow as tf

import storage

_KEPT = "kept"


@contextlib.contextmanager
def kept(model_dir: str, step: int) -> Iterator[None]:
    """Keeps the latest checkpoint, if it is of the step, while the block writes it anew."""
    state = tf.train.get_checkpoint_state(model_dir)
    latest = state.model_checkpoint_path if state is not None else ""
    if os.path.dirname(latest) == model_dir.rstrip("/") and latest.endswith(f"-{step}"):
        target = os.path.join(model_dir, _KEPT, os.path.basename(latest))
        _copy(latest, target)
        _make_latest(model_dir, target, state.all_model_checkpoint_paths, latest)
    yield
    _remove(model_dir)


def restore(model_dir: str) -> None:
    """Puts a checkpoint back that a killed run has left where it was kept; call it under the folder's lock."""
    state = tf.train.get_checkpoint_state(model_dir)
    latest = state.model_checkpoint_path if state is not None else ""
    if os.path.dirname(latest) == os.path.join(model_dir, _KEPT):
        target = os.path.join(model_dir, os.path.basename(latest))
        _copy(latest, target)
        _make_latest(model_dir, target, state.all_model_checkpoint_paths, latest)
    _remove(model_dir)


def _make_latest(model_dir: str, path: str, known: Iterable[str], instead_of: str) -> None:
    """Names a checkpoint as the latest one, by paths that hold wherever the folder is moved."""
    others = [other for other in known if other not in (path, instead_of)]
    lines = [f'model_checkpoint_path: "{os.path.relpath(path, model_dir)}"']
    lines += [f'all_model_checkpoint_paths: "{os.path.relpath(one, model_dir)}"' for one in (*others, path)]
    storage.write(os.path.join(model_dir, "checkpoint"), ["\n".join([*lines, ""]).encode()])


def _copy(source: str, target: str) -> None:
    for file in tf.io.gfile.glob(f"{source}.*"):
        _copy_file(file, target + file.removeprefix(source))


def _copy_file(source: str, target: str) -> None:
    """A second name does for the data, which may be large: TensorFlow renames new ones into their place."""
    if storage.is_local(source) and ".data-" in os.path.basename(source):
        storage.make_folder(os.path.dirname(target))
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    storage.copy_many([source], [target])


def _remove(model_dir: str) -> None:
    folder = os.path.join(model_dir, _KEPT)
    if tf.io.gfile.isdir(folder):
        tf.io.gfile.rmtree(folder)
