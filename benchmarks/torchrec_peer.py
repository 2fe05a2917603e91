"""Impressions/s of training beside TorchRec's fused Adagrad (fbgemm) on the same records, ids, width and cores.

python benchmarks/torchrec_peer.py --data_dir=OUT --folder=DIR --peer_python=VENV/bin/python

OUT: what python -m preprocess made, at full width. VENV has torch, torchrec and fbgemm-gpu-cpu of one release; this
project's environment needs none of them. The ids of OUT are spread over 4,519,539 as in training_speed.py.

The command `python -m trainer` trains by the recommended recipe, from the records on disk. TorchRec gets batches that
the same input pipeline made as tensors in memory, so that its speed is that of steps alone: the fields in a
FusedEmbeddingBagCollection, sums weighted as here, the same two towers by Adam. It trains them in two ways: `flat`, a
context in each impression, as TorchRec is used; and `pieces`, the context of each piece looked up once, as here. All
take turns.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import statistics
import subprocess

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import spread_ids
import tensorflow as tf
from training_speed import ALICCP_IDS, SETTINGS, command_speed

from features import names
from input_fn import dataset
from input_fn.options import InputOptions
from model_fn import lookup
from trainer import data_dir

_STEPS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers", "torchrec_steps.py")
_LAYOUTS = ("pieces", "flat")

Columns = dict[str, np.ndarray]


def batches(path: str, count: int) -> list[Columns]:
    """Batches of training: ids by bag, fields of contexts first, and labels."""
    data = data_dir.load(path)
    prepare = functools.partial(_with_bags, schema=data.schema)
    options = InputOptions(seed=1, num_epochs=1)
    made = dataset.make_dataset(data.records(names.TRAIN), data.schema, data.vocabulary.size, options, prepare)
    counted = made.map(
        lambda bags, labels: bags | {name: labels[name].values for name in (names.CLICK, names.CONVERSION)}
    )
    return list(itertools.islice(counted.as_numpy_iterator(), count))


def _with_bags(features: dict, schema: object) -> dict[str, tf.Tensor]:
    found = lookup.make(features, schema, SETTINGS.combiner, distinct=False)  # type: ignore[arg-type]
    return {"row_splits": found.row_splits, "ids": found.ids, "weights": found.weights, "bags": found.cells[:, 0]}


def by_field(batch: Columns, contexts: int, impressions: int) -> Columns:
    """Ids, weights and lengths in the order of fields and, within a field, of rows, as a KeyedJaggedTensor has them."""
    rows = len(batch["row_splits"]) - 1
    border = rows * contexts
    found = {"row_splits": batch["row_splits"], "click": batch[names.CLICK], "conversion": batch[names.CONVERSION]}
    is_context = batch["bags"] < border
    for side, chosen, first, fields, count in (
        ("context", is_context, 0, contexts, rows),
        ("impression", ~is_context, border, impressions, int(batch["row_splits"][-1])),
    ):
        row, field = np.divmod(batch["bags"][chosen] - first, fields)
        place = field * count + row
        order = np.argsort(place, kind="stable")
        found[f"{side}_ids"] = batch["ids"][chosen][order]
        found[f"{side}_weights"] = batch["weights"][chosen][order]
        found[f"{side}_lengths"] = np.bincount(place, minlength=fields * count).astype(np.int32)
    return found


def flat(batch: Columns, contexts: int) -> Columns:
    """The same with a copy of its context in each impression."""
    sizes = np.diff(batch["row_splits"])
    rows, count = len(sizes), int(sizes.sum())
    of_impression = np.repeat(np.arange(rows), sizes)
    places = (np.arange(contexts)[:, np.newaxis] * rows + of_impression).ravel()
    lengths = batch["context_lengths"]
    ends = np.cumsum(lengths)
    starts, chosen = (ends - lengths)[places], lengths[places]
    shift = np.repeat(starts - (np.cumsum(chosen) - chosen), chosen)
    taken = np.arange(chosen.sum()) + shift
    copied = {f"context_{name}": batch[f"context_{name}"][taken] for name in ("ids", "weights")}
    return batch | copied | {"context_lengths": chosen, "row_splits": np.arange(count + 1)}


def write(path: str, folder: str, count: int) -> None:
    """The batches of both layouts as files, one an array."""
    schema = data_dir.load(path).schema
    contexts, impressions = len(lookup.context_fields(schema)), len(lookup.impression_fields(schema))
    for number, batch in enumerate(batches(path, count)):
        pieces = by_field(batch, contexts, impressions)
        for layout, columns in (("pieces", pieces), ("flat", flat(pieces, contexts))):
            os.makedirs(os.path.join(folder, layout), exist_ok=True)
            np.savez(os.path.join(folder, layout, f"{number:03}.npz"), **columns)


def peer_speed(python: str, folder: str, layout: str, seconds: float) -> float:
    """Impressions/s of TorchRec's steps."""
    flags = [f"--rows={ALICCP_IDS}", f"--size={SETTINGS.embedding_size}", f"--seconds={seconds}"]
    flags += ["--layers", *map(str, SETTINGS.deep_layers)]
    command = [python, _STEPS, f"--batches={os.path.join(folder, layout)}", *flags]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return float(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout.split()[-1]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="what python -m preprocess made")
    parser.add_argument("--folder", required=True, help="keeps the records with spread ids, and the batches")
    parser.add_argument("--peer_python", required=True, help="the Python that has torchrec and fbgemm-gpu-cpu")
    parser.add_argument("--batches", type=int, default=40, help="that TorchRec trains again and again")
    parser.add_argument("--steps", type=int, default=400, help="of each training here")
    parser.add_argument("--seconds", type=float, default=12, help="of each training there")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    records = spread_ids.make(arguments.data_dir, os.path.abspath(arguments.folder), ALICCP_IDS)
    folder = os.path.join(os.path.abspath(arguments.folder), "batches")
    if not os.path.isdir(folder):
        write(records, folder, arguments.batches)
    ways = {"here": lambda: command_speed(records, arguments.steps)[0]}
    for layout in _LAYOUTS:
        ways[f"TorchRec, {layout}"] = functools.partial(
            peer_speed, arguments.peer_python, folder, layout, arguments.seconds
        )
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            found[name].append(way())
            print(f"{name}: {found[name][-1]:,.0f}", flush=True)
    medians = {name: statistics.median(speeds) for name, speeds in found.items()}
    for name, speed in medians.items():
        print(f"{name:<20}{speed:>10,.0f} impressions/s  {medians['here'] / speed:.2f}")


if __name__ == "__main__":
    main()
