"""Record files to a stream of serialized records, each with the number of its file."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Sequence

import tensorflow as tf

from input_fn import tfrecord
from input_fn.options import InputOptions

# Files that are open at the same time, and records taken from one in turn.
_OPEN_FILES = 8
_TURN = 16
_READ_BUFFER = 1 << 20
# Remote files are asked for their size side by side.
_STATS_AT_ONCE = 16


def serialized_records(paths: Sequence[str], options: InputOptions) -> tf.data.Dataset:
    """Dataset of (serialized record, place of its file in `paths`): string and int64 scalars, all epochs."""
    by_file = len(paths) >= options.shard_count
    found = _file_dataset(paths)
    if by_file:
        found = found.shard(options.shard_count, options.shard_index)
    if options.shuffle:
        found = found.shuffle(len(paths), options.seed)
    open_files = _OPEN_FILES if options.shuffle or not options.ordered else 1
    records = found.interleave(
        _records_of_file,
        cycle_length=open_files,
        block_length=_TURN,
        # More threads than open files are an error to tf.data.
        num_parallel_calls=min(options.num_threads, open_files) or tf.data.AUTOTUNE,
        deterministic=True,
    )
    if not by_file:
        records = records.shard(options.shard_count, options.shard_index)
    if options.shuffle:
        # Other seeds than the files', or equal draws would tie the two orders together.
        records = records.shuffle(options.shuffle_buffer, None if options.seed is None else options.seed + 1)
    return records.repeat(options.num_epochs).skip(options.skip_records)


def _file_dataset(paths: Sequence[str]) -> tf.data.Dataset:
    with concurrent.futures.ThreadPoolExecutor(_STATS_AT_ONCE) as threads:
        sizes = list(threads.map(tfrecord.uncompressed_size, paths))
    kinds = ["GZIP" if tfrecord.is_compressed(path) else "" for path in paths]
    numbers = tf.range(len(paths), dtype=tf.int64)
    return tf.data.Dataset.from_tensor_slices((tf.constant(list(paths)), tf.constant(kinds), sizes, numbers))


@tf.autograph.experimental.do_not_convert
def _records_of_file(path: tf.Tensor, kind: tf.Tensor, size: tf.Tensor, number: tf.Tensor) -> tf.data.Dataset:
    # In runs, and zipped rather than mapped: a function call for each record would cost more than reading it.
    runs = tf.data.TFRecordDataset(path, kind, buffer_size=_READ_BUFFER).batch(_TURN)
    records = _checked_size(runs, path, tf.cast(size, tf.int64)).unbatch()
    return tf.data.Dataset.zip((records, tf.data.Dataset.from_tensors(number).repeat()))


def _checked_size(runs: tf.data.Dataset, path: tf.Tensor, size: tf.Tensor) -> tf.data.Dataset:
    """Stops at the end of a file that was shorter than it should be: TensorFlow takes some cuts for a file's end."""
    end = tf.data.Dataset.from_tensors(tf.zeros([0], tf.string))

    @tf.autograph.experimental.do_not_convert
    def count(total: tf.Tensor, run: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        total += tf.reduce_sum(tf.cast(tf.strings.length(run) + tfrecord.FRAME_SIZE, tf.int64))
        complete = tf.logical_or(
            tf.size(run) > 0, tf.equal(total % tfrecord.SIZE_MODULUS, size % tfrecord.SIZE_MODULUS)
        )
        message = tf.strings.join([path, ": the file ends early; copy or preprocess it again"])
        tf.debugging.Assert(complete, [message])
        return total, run

    return runs.concatenate(end).scan(tf.constant(0, tf.int64), count)
