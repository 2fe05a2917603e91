"""Where the time of a training step goes, and what other ways of keeping the embedding table would change.

python benchmarks/training_step.py --data_dir=OUT --folder=DIR      OUT: what python -m preprocess made, at full width

The ids of OUT are spread over 4,519,539, as in training_speed.py. Batches are made beforehand, so that only steps are
measured, each on one thread, where parts add up:

account   microseconds an impression of the step of the recommended recipe, by what its ops are for, and of the input
ways      the table's part alone (look up, pool, gradient, Adagrad) in other ways, beside the one in use

Nothing else should run meanwhile. Ways take turns; each figure is the median over the rounds.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import re
import statistics
import time
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import spread_ids
import tensorflow as tf
from training_speed import ALICCP_IDS

from features import names
from input_fn import dataset
from input_fn.options import InputOptions
from model_fn import estimator, estimator_model, lookup
from model_fn.hyperparameters import Hyperparameters
from model_fn.lookup import Lookup
from trainer import data_dir

v1 = tf.compat.v1

# Of configs/recommended.flags.
RECIPE = {"embedding_optimizer": "Adagrad", "embedding_learning_rate": 0.02, "initial_accumulator": 1e-7}
_STEPS_OF_SCHEDULE = 10_000
_MOST_BAGS = 1 << 16
# What ops are for: the first that fits the kind of op and its name.
PARTS = (
    ("table: rows looked up", r"ResourceGather .*(?<!update)$", r"Adagrad"),
    ("table: Adagrad", r".*(Adagrad|ResourceScatter)", r"^$"),
    ("table: pooling", r"SparseTensorDenseMatMul (?!gradients)", r"^$"),
    ("table: gradient of the pooling", r"SparseTensorDenseMatMul gradients", r"^$"),
    ("towers: products", r"(_Fused)?MatMul", r"^$"),
    ("towers: Adam", r".*(Adam|beta[12]_power)", r"^$"),
    ("all other ops", r"", r"^$"),
)


def batches(path: str, count: int, batch_size: int) -> tuple[tf.data.Dataset, data_dir.DataDir]:
    """Batches of training that stay in memory, again and again."""
    data = data_dir.load(path)
    prepare = functools.partial(lookup.in_place_of_fields, schema=data.schema, combiner=Hyperparameters().combiner)
    options = InputOptions(seed=1, num_epochs=1, batch_size=batch_size)
    made = dataset.make_dataset(data.records(names.TRAIN), data.schema, data.vocabulary.size, options, prepare)
    return made.take(count).cache().repeat(), data


def input_time(path: str, seconds: float, batch_size: int) -> float:
    """Microseconds of CPU an impression that the input pipeline takes, all its threads together."""
    data = data_dir.load(path)
    prepare = functools.partial(lookup.in_place_of_fields, schema=data.schema, combiner=Hyperparameters().combiner)
    options = InputOptions(seed=1, num_epochs=1000, batch_size=batch_size, num_threads=1, trace=True)
    made = dataset.make_dataset(data.records(names.TRAIN), data.schema, data.vocabulary.size, options, prepare)
    counts = made.map(lambda _, labels: tf.size(labels[names.CLICK].values)).as_numpy_iterator()
    next(counts)
    begin, begin_cpu, impressions = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begin < seconds:
        impressions += int(next(counts))
    return (time.process_time() - begin_cpu) / impressions * 1e6


def session() -> v1.Session:
    """On one thread."""
    return v1.Session(config=v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1))


def account(path: str, arguments: argparse.Namespace, batch_size: int) -> dict[str, float]:
    """Microseconds an impression of each part of a step, and of the whole of it where nothing is traced."""
    with tf.Graph().as_default():
        made, data = batches(path, arguments.batches, batch_size)
        features, labels = v1.data.make_one_shot_iterator(made).get_next()
        settings = Hyperparameters(**RECIPE).for_run(_STEPS_OF_SCHEDULE)
        params = {"schema": data.schema, "vocabulary_size": data.vocabulary.size, "hyperparameters": settings}
        step = estimator_model.model_fn(features, labels, estimator.ModeKeys.TRAIN, params).train_op
        count = tf.size(labels[names.CLICK].values)
        with session() as running:
            running.run(v1.global_variables_initializer())
            whole = _per_impression(running, step, count, arguments.seconds, arguments.batches)
            found = dict.fromkeys((title for title, *_ in PARTS), 0.0)
            impressions = 0
            for _ in range(arguments.batches):
                metadata = v1.RunMetadata()
                traced = v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE)
                impressions += running.run([step, count], options=traced, run_metadata=metadata)[1]
                for part, microseconds in _parts(metadata):
                    found[part] += microseconds
    parts = {part: spent / impressions for part, spent in found.items()}
    made_in = input_time(path, arguments.seconds, batch_size)
    return parts | {"whole step, not traced": whole, "input, on other threads": made_in}


def _per_impression(running: v1.Session, step: tf.Operation, count: tf.Tensor, seconds: float, warm_up: int) -> float:
    """Microseconds an impression; the first steps make the batches, and what made them ends behind the last."""
    for _ in range(2 * warm_up):
        running.run([step, count])
    begin, impressions = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        impressions += running.run([step, count])[1]
    return (time.perf_counter() - begin) / impressions * 1e6


def _parts(metadata: v1.RunMetadata) -> Iterator[tuple[str, float]]:
    """Part and microseconds of each op of a step."""
    for device in metadata.step_stats.dev_stats:
        for node in device.node_stats:
            kind = re.search(r"= (\w+)\(", node.timeline_label)
            text = f"{kind.group(1) if kind else ''} {node.node_name}"
            title = next(
                title for title, fits, fits_not in PARTS if re.match(fits, text) and not re.search(fits_not, text)
            )
            yield title, node.op_end_rel_micros - node.op_start_rel_micros


@dataclasses.dataclass(frozen=True)
class Way:
    """How the table is kept, read and written.

    Attributes:
        kind: of the table's numbers; accumulators are float32.
        beside: whether a row and its accumulators lie side by side in one variable.
        again: whether the update reads the table's rows again instead of taking those of the forward pass.
        ascending: whether the batch's rows come in the table's order.
    """

    kind: tf.DType = tf.float32
    beside: bool = False
    again: bool = True
    ascending: bool = False


WAYS = {
    "in use: table and accumulators apart, float32": Way(),
    "rows of the forward pass are not read again": Way(again=False),
    "rows ascending": Way(ascending=True),
    "side by side": Way(beside=True),
    "side by side, rows ascending": Way(beside=True, ascending=True),
    "bfloat16 table, float32 accumulators": Way(kind=tf.bfloat16),
    "float16 table, float32 accumulators": Way(kind=tf.float16),
}


def in_ascending_order(features: dict, labels: dict) -> tuple[dict, dict]:
    """A batch with its distinct rows in the table's order."""
    order = tf.argsort(features["lookup/ids"])
    bag, row = tf.unstack(features["lookup/cells"], axis=1)
    cells = tf.stack([bag, tf.gather(tf.math.invert_permutation(order), row)], 1)
    return features | {"lookup/ids": tf.gather(features["lookup/ids"], order), "lookup/cells": cells}, labels


def table_step(way: Way, rows: int, size: int, found: Lookup, bags: tf.Tensor, upstream: tf.Tensor) -> tf.Operation:
    """Looks rows up, pools them, and applies Adagrad to the gradient that `upstream` [bags, size] has to them."""
    table = _variable("table", [rows, size * (1 + way.beside)], way.kind)
    shape = tf.cast(tf.stack([bags, tf.size(found.ids)]), tf.int64)
    product = functools.partial(
        tf.raw_ops.SparseTensorDenseMatMul, a_indices=found.cells, a_values=found.weights, a_shape=shape
    )
    read = tf.gather(table, found.ids)
    values, squares = tf.split(read, 2, 1) if way.beside else (tf.cast(read, tf.float32), None)
    with tf.control_dependencies([product(b=values)]):
        gradient = product(b=upstream, adjoint_a=True)
    if squares is not None:
        return _write(table, found.ids, tf.concat(_adagrad(values, squares, gradient), 1))
    accumulators = _variable("squares", [rows, size], tf.float32)
    with tf.control_dependencies([gradient]):
        squares = tf.gather(accumulators, found.ids)
        values = tf.cast(tf.gather(table, found.ids), tf.float32) if way.again else values
    values, squares = _adagrad(values, squares, gradient)
    return tf.group(_write(table, found.ids, tf.cast(values, way.kind)), _write(accumulators, found.ids, squares))


def _variable(name: str, shape: list[int], kind: tf.DType) -> tf.Variable:
    # Ones, so that nothing is divided by 0: what the numbers are changes no time.
    return v1.get_variable(name, shape, kind, tf.ones_initializer(), use_resource=True)


def _adagrad(values: tf.Tensor, squares: tf.Tensor, gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    squares += tf.square(gradient)
    return values - RECIPE["embedding_learning_rate"] * gradient / tf.sqrt(squares), squares


def _write(variable: tf.Variable, ids: tf.Tensor, rows: tf.Tensor) -> tf.Operation:
    return tf.raw_ops.ResourceScatterUpdate(resource=variable.handle, indices=ids, updates=rows)


def time_of_way(path: str, arguments: argparse.Namespace, way: Way) -> float:
    """Microseconds an impression of the table's part in one way."""
    with tf.Graph().as_default():
        made, data = batches(path, arguments.batches, InputOptions.batch_size)
        if way.ascending:
            made = made.take(arguments.batches).map(in_ascending_order).cache().repeat()
        features, labels = v1.data.make_one_shot_iterator(made).get_next()
        found = lookup.make(features, data.schema, Hyperparameters().combiner, distinct=True)
        fields = len(lookup.context_fields(data.schema)), len(lookup.impression_fields(data.schema))
        bags = found.requests.count * fields[0] + found.requests.impressions * fields[1]
        size = Hyperparameters().embedding_size
        normal = v1.random_normal_initializer()
        upstream = v1.get_variable("upstream", [_MOST_BAGS, size], initializer=normal, trainable=False)
        step = table_step(way, data.vocabulary.size, size, found, bags, upstream[:bags])
        with session() as running:
            running.run(v1.global_variables_initializer())
            count = tf.size(labels[names.CLICK].values)
            return _per_impression(running, step, count, arguments.seconds, arguments.batches)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="what python -m preprocess made")
    parser.add_argument("--folder", required=True, help="keeps the records with spread ids")
    parser.add_argument("--batches", type=int, default=60, help="that are trained again and again")
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch_sizes", type=int, nargs="*", default=[InputOptions.batch_size, 4096])
    arguments = parser.parse_args()
    v1.logging.set_verbosity(v1.logging.ERROR)
    path = spread_ids.make(arguments.data_dir, os.path.abspath(arguments.folder), ALICCP_IDS)
    for batch_size in arguments.batch_sizes:
        print(f"\nbatches of {batch_size}: microseconds an impression, one thread")
        for part, spent in account(path, arguments, batch_size).items():
            print(f"{part:<50}{spent:8.2f}", flush=True)
    spent: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(arguments.rounds):
        for name, way in WAYS.items():
            spent[name].append(time_of_way(path, arguments, way))
    medians = {name: statistics.median(times) for name, times in spent.items()}
    print("\nthe table's part alone, batches of 1024: microseconds an impression, and over that of the one in use")
    first = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"{name:<50}{median:8.2f}{median / first:8.2f}")


if __name__ == "__main__":
    main()
