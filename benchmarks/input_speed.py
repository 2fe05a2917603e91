"""How fast the input_fn alone delivers batches: against training with it, and against the way of other systems.

python benchmarks/input_speed.py --data_dir=OUT     OUT: what python -m preprocess made, at best at full width

Other systems parse flat records (a copy of the context in each impression) one by one and batch them then. Their
records are made here of the first requests of the same log. The machine should do nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from features import names, parse_spec
from features.schema import Schema
from input_fn import dataset, files, tfrecord
from input_fn.options import InputOptions
from trainer import data_dir

_FLAT_REQUESTS = 40
_WARM_UP_BATCHES = 40
_EPOCHS = 1000


def flat_examples(serialized: bytes, schema: Schema) -> list[bytes]:
    """A request's impressions as records of one impression each, the context copied into all of them."""
    request = tf.train.Example.FromString(serialized).features.feature
    count = len(request[names.SAMPLE_ID].int64_list.value)
    flat = [tf.train.Example() for _ in range(count)]
    ends = {
        field.name: [0, *itertools.accumulate(request[field.length_key].int64_list.value)]
        for field in schema.impression_fields
        if field.is_many
    }
    context = {key for field in schema.context_fields for key in (field.name, field.weight_key)}
    for key, feature in request.items():
        values = feature.float_list.value or feature.int64_list.value
        splits = ends.get(key.removesuffix("/weight"), range(count + 1))
        for number, example in enumerate(flat):
            own = values if key in context else values[splits[number] : splits[number + 1]]
            if key in {names.length_key(name) for name in ends}:
                own = values[number : number + 1]
            target = example.features.feature[key]
            (target.float_list if feature.HasField("float_list") else target.int64_list).value.extend(own)
    return [example.SerializeToString() for example in flat]


def one_by_one(path: str, schema: Schema, batch_size: int) -> tf.data.Dataset:
    """Batches of flat records that are parsed one by one."""
    spec = parse_spec.record_spec(schema) | parse_spec.label_spec() | parse_spec.sample_id_spec()
    records = tf.data.TFRecordDataset(path).repeat().shuffle(4096)
    parsed = records.map(lambda record: tf.io.parse_single_example(record, spec), tf.data.AUTOTUNE)
    batches = parsed.ragged_batch(batch_size).map(lambda columns: tf.shape(columns[names.CLICK].values)[0])
    return batches.prefetch(tf.data.AUTOTUNE)


def speed(counts: tf.data.Dataset, seconds: float) -> float:
    """Impressions/s of a dataset of the batches' numbers of impressions."""
    iterator = counts.as_numpy_iterator()
    for _ in range(_WARM_UP_BATCHES):
        next(iterator)
    started, impressions = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        impressions += int(next(iterator))
    return impressions / (time.perf_counter() - started)


def input_speed(data: data_dir.DataDir, options: InputOptions, seconds: float) -> float:
    """Impressions/s of the input_fn."""
    batches = dataset.make_dataset(data.records(names.TRAIN), data.schema, data.vocabulary.size, options)
    # Counted in the graph: to hand a batch's forty ragged tensors to Python takes longer than to make them.
    return speed(batches.map(lambda _, labels: tf.size(labels[names.CLICK].values)), seconds)


def flat_speed(data: data_dir.DataDir, batch_size: int, seconds: float) -> float:
    """Impressions/s of other systems' way."""
    first = files.find(data.records(names.TRAIN))[0]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "flat.tfrecord")
        with tf.io.TFRecordWriter(path) as writer:
            for record in itertools.islice(tfrecord.read(first), _FLAT_REQUESTS):
                for flat in flat_examples(record, data.schema):
                    writer.write(flat)
        return speed(one_by_one(path, data.schema, batch_size), seconds)


def training_speed(path: str, steps: int) -> float:
    """Impressions/s of training with the defaults: median of the lines that it prints."""
    with tempfile.TemporaryDirectory() as folder:
        flags = [f"--data_dir={path}", f"--model_dir={folder}", f"--max_steps={steps}", "--log_steps=50"]
        command = [sys.executable, "-m", "trainer", "--num_epochs=1000", "--eval_impressions=1", *flags]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return statistics.median(float(x.replace(",", "")) for x in re.findall(r"([\d,]+) impressions/s", printed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="what python -m preprocess made")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--training_steps", type=int, default=500)
    parser.add_argument(
        "--pieces", type=int, nargs="*", default=[1, 8, 32, 0], help="other max_impressions_per_context"
    )
    arguments = parser.parse_args()
    data = data_dir.load(arguments.data_dir)

    def measure(**changes: object) -> float:
        options = InputOptions(seed=1, num_epochs=_EPOCHS, **changes)  # type: ignore[arg-type]
        return input_speed(data, options, arguments.seconds)

    default = measure()
    rows = {f"input_fn, training, pieces of {InputOptions.max_impressions_per_context} (default)": default}
    rows |= {
        f"input_fn, training, pieces of {n or 'any length'}": measure(max_impressions_per_context=n)
        for n in arguments.pieces
    }
    rows["input_fn, evaluation (whole requests)"] = measure(shuffle=False)
    rows["flat records parsed one by one"] = flat = flat_speed(data, InputOptions.batch_size, arguments.seconds)
    rows["training with the default"] = training = training_speed(arguments.data_dir, arguments.training_steps)
    for title, value in rows.items():
        print(f"{title:<55}{value:>12,.0f} impressions/s")
    print(f"input_fn / training                    {default / training:.1f}  (at least 2 wanted)")
    print(f"input_fn / flat records one by one     {default / flat:.1f}")


if __name__ == "__main__":
    main()
