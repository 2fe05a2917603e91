"""Speed and memory of training at Ali-CCP's size: against the towers alone, the seed's way, and other vocabularies.

python benchmarks/training_speed.py --data_dir=OUT --folder=DIR      OUT: what python -m preprocess made, at full width

The records of OUT, their ids spread over 4,519,539, train with the command `python -m trainer` and the recommended
recipe, input included. Beside it, in the same run:

roofline      one step of the two towers on random dense input of the same width, its gradient to that input included
seed's way    flat records parsed one by one, embedding_lookup_sparse per field, dense Adam, L2 over the whole table
LazyAdam      the same command with the other optimizer of rows
other sizes   the same command with 100 thousand and 20 million ids
pieces        the same command with other --max_impressions_per_context
attention     the same command with --attention over Ali-CCP's three histories of the largest size
esmm          the same command with ESMM as published, in place of the recipe's model

Nothing else should run meanwhile. Each figure is the median over the rounds, in which the ways take turns.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import input_speed
import spread_ids
import tensorflow as tf
from pipeline import RECIPE, REPOSITORY

from features import names, parse_spec
from features.schema import Field, Schema
from input_fn import files, tfrecord
from input_fn.options import InputOptions
from model_fn import losses
from model_fn.hyperparameters import Hyperparameters
from trainer import data_dir

v1 = tf.compat.v1

ALICCP_IDS = 4_519_539
OTHER_SIZES = (100_000, 20_000_000)
BATCH = InputOptions.batch_size
SETTINGS = Hyperparameters()
LAZY_ADAM = ("--embedding_optimizer=LazyAdam", "--embedding_learning_rate=0.001")
# Histories of categories, shops and brands, and what of an impression looks at them.
ATTENTION = "--attention=109_14:206,110_14:207,127_14:216"
SEED_L2 = 0.005
SEED = "seed's way"
_FLAT_REQUESTS = 60
_SEED_STEPS = 10


def command_speed(data: str, steps: int, *flags: str) -> tuple[float, float]:
    """Impressions/s (median of the lines that the command prints) and peak memory in GB of `python -m trainer`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "trainer", RECIPE, f"--data_dir={data}", f"--model_dir={folder}/model"]
        command += [f"--max_steps={steps}", "--num_epochs=1000", "--log_steps=50", "--eval_impressions=1", *flags]
        with open(os.path.join(folder, "printed"), "w+", encoding="utf-8") as printed:
            process = subprocess.Popen(command, cwd=REPOSITORY, stdout=printed, stderr=subprocess.STDOUT)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            printed.seek(0)
            text = printed.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}:\n{text[-2000:]}")
    speeds = [float(number.replace(",", "")) for number in re.findall(r"([\d,]+) impressions/s", text)]
    return statistics.median(speeds[1:]), usage.ru_maxrss * 1024 / 1e9


def roofline_speed(width: int, seconds: float, with_input_gradient: bool) -> float:
    """Impressions/s of steps of the two towers alone."""
    with tf.Graph().as_default():
        rows = v1.get_variable("rows", [BATCH, width], initializer=v1.random_normal_initializer())
        labels = losses.Labels(tf.zeros([BATCH]), tf.zeros([BATCH]))
        ctr, cvr = (_tower(rows, name) for name in ("ctr", "cvr"))
        loss = 0.5 * losses.ctr_loss(labels, ctr) + 0.5 * losses.ctcvr_loss(labels, ctr, cvr)
        weights = [variable for variable in v1.trainable_variables() if variable is not rows]
        step = v1.train.AdamOptimizer(SETTINGS.dense_learning_rate).minimize(loss, var_list=weights)
        gradient = tf.gradients(loss, rows)[0].op if with_input_gradient else tf.no_op()
        return _steps_speed(tf.group(step, gradient), seconds)


def _tower(rows: tf.Tensor, name: str) -> tf.Tensor:
    with v1.variable_scope(name):
        for number, units in enumerate(SETTINGS.deep_layers):
            rows = tf.nn.relu(_dense(rows, units, f"layer_{number}"))
        return tf.squeeze(_dense(rows, 1, "logit"), 1)


def _dense(rows: tf.Tensor, units: int, name: str) -> tf.Tensor:
    with v1.variable_scope(name):
        kernel = v1.get_variable("kernel", [rows.shape[1], units])
        return tf.matmul(rows, kernel) + v1.get_variable("bias", [units], initializer=tf.zeros_initializer())


def _steps_speed(step: tf.Operation, seconds: float) -> float:
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        for _ in range(20):
            session.run(step)
        begin, count = time.perf_counter(), 0
        while time.perf_counter() - begin < seconds:
            session.run(step)
            count += 1
        return count * BATCH / (time.perf_counter() - begin)


def seed_speed(data: data_dir.DataDir) -> float:
    """Impressions/s of the seed's way."""
    with tempfile.TemporaryDirectory() as folder, tf.Graph().as_default():
        path = os.path.join(folder, "flat.tfrecord")
        with tf.io.TFRecordWriter(path) as writer:
            for record in itertools.islice(tfrecord.read(files.find(data.records(names.TRAIN))[0]), _FLAT_REQUESTS):
                for flat in input_speed.flat_examples(record, data.schema):
                    writer.write(flat)
        step = _seed_step(path, data.schema, data.vocabulary.size)
        with v1.Session() as session:
            session.run([v1.global_variables_initializer(), v1.tables_initializer()])
            session.run(step)
            begin = time.perf_counter()
            for _ in range(_SEED_STEPS):
                session.run(step)
            return _SEED_STEPS * BATCH / (time.perf_counter() - begin)


def _seed_step(path: str, schema: Schema, size: int) -> tf.Operation:
    """One step on flat records: each parsed alone, each field looked up alone, the whole table regularized."""
    spec = {key: tf.io.VarLenFeature(kind.dtype) for key, kind in _flat_spec(schema).items()}
    records = tf.data.TFRecordDataset(path).repeat().shuffle(2 * BATCH)
    parsed = records.map(lambda record: tf.io.parse_single_example(record, spec), tf.data.AUTOTUNE)
    batch = v1.data.make_one_shot_iterator(parsed.batch(BATCH).prefetch(1)).get_next()
    table = v1.get_variable("table", [size, SETTINGS.embedding_size], initializer=v1.random_normal_initializer(0, 0.01))
    rows = tf.concat([_looked_up(table, batch, field) for field in schema.fields], 1)
    rows = tf.ensure_shape(rows, [BATCH, len(schema.fields) * SETTINGS.embedding_size])
    ctr, cvr = (_tower(rows, name) for name in ("ctr", "cvr"))
    click, conversion = (tf.cast(batch[name].values, tf.float32) for name in (names.CLICK, names.CONVERSION))
    labels = losses.Labels(click, conversion)
    loss = 0.5 * losses.ctr_loss(labels, ctr) + 0.5 * losses.ctcvr_loss(labels, ctr, cvr)
    return v1.train.AdamOptimizer(1e-4).minimize(loss + SEED_L2 * tf.nn.l2_loss(table))


def _flat_spec(schema: Schema) -> parse_spec.Spec:
    return parse_spec.record_spec(schema) | parse_spec.label_spec()


def _looked_up(table: tf.Variable, batch: dict[str, tf.SparseTensor], field: Field) -> tf.Tensor:
    ids = batch[field.name]
    weights = tf.SparseTensor(ids.indices, batch[field.weight_key].values, ids.dense_shape) if field.weighted else None
    return tf.nn.embedding_lookup_sparse(table, ids, weights, combiner="sum")


def measure(arguments: argparse.Namespace) -> dict[str, tuple[float, float | None]]:
    """Impressions/s and peak memory of each way: medians over the rounds."""
    arguments.folder = os.path.abspath(arguments.folder)
    default = spread_ids.make(arguments.data_dir, arguments.folder, ALICCP_IDS)
    data = data_dir.load(default)
    width = len(data.schema.fields) * SETTINGS.embedding_size
    steps, seconds = arguments.steps, arguments.seconds
    ways: dict[str, Callable[[], tuple[float, float | None]]] = {
        "training": lambda: command_speed(default, steps),
        "roofline": lambda: (roofline_speed(width, seconds, True), None),
        "roofline, no gradient to the input": lambda: (roofline_speed(width, seconds, False), None),
    }
    ways["training, LazyAdam"] = lambda: command_speed(default, steps, *LAZY_ADAM)
    for size in OTHER_SIZES:
        make = functools.partial(spread_ids.make, arguments.data_dir, arguments.folder, size)
        ways[f"training, {size:,} ids"] = lambda make=make: command_speed(make(), steps)
    for piece in arguments.pieces:
        flag = f"--max_impressions_per_context={piece}"
        ways[f"training, pieces of {piece or 'any length'}"] = lambda flag=flag: command_speed(default, steps, flag)
    ways["training, attention"] = lambda: command_speed(default, steps, ATTENTION)
    ways["training, ESMM"] = lambda: command_speed(default, steps, "--model=esmm", "--nocvr_sees_ctr")
    if arguments.only:
        ways = {name: way for name, way in ways.items() if name in arguments.only}
    found: dict[str, list[tuple[float, float | None]]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            found[name].append(way())
            print(f"{name}: {found[name][-1][0]:,.0f}", flush=True)
    medians = {name: tuple(map(_median, zip(*runs, strict=True))) for name, runs in found.items()}
    return medians | ({} if arguments.only else {SEED: (seed_speed(data), None)})  # type: ignore[return-value]


def _median(values: tuple[float | None, ...]) -> float | None:
    return None if None in values else statistics.median(values)  # type: ignore[type-var]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="what python -m preprocess made")
    parser.add_argument("--folder", required=True, help="keeps the records with spread ids")
    parser.add_argument("--steps", type=int, default=500, help="of each training")
    parser.add_argument("--seconds", type=float, default=5, help="of each roofline")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pieces", type=int, nargs="*", default=[1, 8, 32, 0])
    parser.add_argument("--only", nargs="*", default=[], help="ways to measure, and no ratios; all unless given")
    arguments = parser.parse_args()
    found = measure(arguments)
    for name, (speed, memory) in found.items():
        print(f"{name:<40}{speed:>10,.0f} impressions/s" + (f"  peak {memory:.2f} GB" if memory else ""))
    if arguments.only:
        return
    training = found["training"][0]
    print(f"training / roofline     {training / found['roofline'][0]:.2f}  (at least 0.60 wanted)")
    print(f"training / seed's way   {training / found[SEED][0]:.0f}  (at least 20 wanted)")
    sizes = [training, *(found[f"training, {size:,} ids"][0] for size in OTHER_SIZES)]
    print(f"slowest / fastest of the vocabulary sizes  {min(sizes) / max(sizes):.2f}  (at least 0.85 wanted)")


if __name__ == "__main__":
    main()
