"""The input_fn: record files to batches of requests."""

from __future__ import annotations

import dataclasses
import functools
import math
import random
from collections.abc import Callable, Sequence

import tensorflow as tf

from features import names
from features.schema import Schema
from input_fn import batches, files, parsing, pieces
from input_fn.batches import Batch
from input_fn.options import InputOptions
from input_fn.parsing import Columns
from input_fn.records import serialized_records

# Features that `InputOptions.trace` adds: int64 [requests], the place of each request's file in `files.find`; and an
# int64 scalar, the records that need not be read again to go on behind the batches before this one.
FILE_INDEX = "input/file"
POSITION = "input/position"

# A block is parsed at once and cut into this many batches for each piece that a request has on average, so that
# dealing its pieces keeps those of a request apart, up to a bound on its memory (some 25 MB at full width).
_BATCHES_PER_PIECE = 4
_MAX_BLOCK_IMPRESSIONS = 1 << 16
_PREFETCHED_BATCHES = 4

# Nothing here needs AutoGraph's rewriting of Python, which takes a second for each dataset.
_as_it_stands = tf.autograph.experimental.do_not_convert


def make_dataset(
    pattern_or_files: str | Sequence[str],
    schema: Schema,
    vocabulary_size: int,
    options: InputOptions,
    prepare: Callable[[Columns], Columns] = lambda features: features,
) -> tf.data.Dataset:
    """Dataset of batches (features, labels), as `features.parse_spec` describes them, sample_id among the features.

    With `options.shuffle` a row of a batch is a piece of a request, else a request. Every impression comes once in
    each epoch.

    Args:
        pattern_or_files: record files or globs of them, gzipped or not by their names, local or remote.
        schema: of the records.
        vocabulary_size: ids lie below it; one that does not is an error.
        options: see there.
        prepare: changes the features of a batch, on the threads of the input: what a model would else do in its step.

    Raises:
        FileNotFoundError: nothing fits a pattern.
        RecordError: a file is empty or its start cannot be read. Later damage comes as an error of TensorFlow,
            which `errors.naming_files` turns into this one.
    """
    paths = files.find(pattern_or_files)
    if options.seed is None:
        options = dataclasses.replace(options, seed=random.SystemRandom().randrange(1 << 31))
    records = serialized_records(paths, options)
    parse = functools.partial(parsing.parse, paths=paths, schema=schema, vocabulary_size=vocabulary_size)
    shape = files.sample_shape(paths)
    if options.shuffle:
        made = _shuffled_batches(records, parse, schema, records_of_block(shape, options), options, prepare)
    else:
        made = _ordered_batches(records, parse, shape, options, prepare)
    return made.prefetch(_PREFETCHED_BATCHES).with_options(_pipeline_options(options))


def records_of_block(shape: files.RecordShape, options: InputOptions) -> int:
    """Records that training parses at once."""
    wanted = _BATCHES_PER_PIECE * shape.mean_pieces(options.max_impressions_per_context)
    blocks = max(2.0, min(wanted, _MAX_BLOCK_IMPRESSIONS / options.batch_size))
    return math.ceil(blocks * options.batch_size / shape.mean_impressions)


def _ordered_batches(
    records: tf.data.Dataset,
    parse: functools.partial[Columns],
    shape: files.RecordShape,
    options: InputOptions,
    prepare: Callable[[Columns], Columns],
) -> tf.data.Dataset:
    """Batches of whole requests in the order of the files: parsing is all there is to do."""
    size = max(1, round(options.batch_size / shape.mean_impressions))

    @_as_it_stands
    def make_batch(serialized: tf.Tensor, file_index: tf.Tensor) -> Batch:
        columns = parse(serialized, file_index)
        features, labels = batches.split_labels(columns | _trace(file_index, tf.constant(0, tf.int64), options))
        return prepare(features), labels

    return records.batch(size).map(make_batch, options.num_threads or tf.data.AUTOTUNE, deterministic=True)


def _shuffled_batches(
    records: tf.data.Dataset,
    parse: functools.partial[Columns],
    schema: Schema,
    size: int,
    options: InputOptions,
    prepare: Callable[[Columns], Columns],
) -> tf.data.Dataset:
    """Batches of pieces: blocks of `size` records are parsed, cut and dealt."""
    blocks = _without_short_end(records.batch(size), size)

    @_as_it_stands
    def cut_block(
        number: tf.Tensor, block: tuple[tf.Tensor, tf.Tensor]
    ) -> tuple[Columns, pieces.Pieces, tf.Tensor, tf.Tensor]:
        columns = parse(*block)
        row_splits = columns[names.SAMPLE_ID].row_splits
        cuts = pieces.cut(row_splits, options.max_impressions_per_context)
        dealt = cuts.take(pieces.dealing_order(cuts, tf.stack([tf.constant(options.seed, tf.int64), number])))
        start = options.skip_records + number * size
        columns |= _trace(block[1], start, options)
        return columns, dealt, pieces.number_of_batches(row_splits, options.batch_size), tf.size(block[0], tf.int64)

    @_as_it_stands
    def batches_of_block(
        columns: Columns, dealt: pieces.Pieces, count: tf.Tensor, records_in_block: tf.Tensor
    ) -> tf.data.Dataset:
        start = columns.get(POSITION)
        rows = {key: column for key, column in columns.items() if key != POSITION}

        @_as_it_stands
        def make_batch(number: tf.Tensor) -> Batch:
            chosen = dealt.take(tf.range(number, tf.size(dealt.request, tf.int64), count))
            made = batches.gather(rows, chosen, schema)
            if start is not None:
                made[POSITION] = start + tf.where(tf.equal(number, count - 1), records_in_block, 0)
            features, labels = batches.split_labels(made)
            return prepare(features), labels

        return tf.data.Dataset.range(count).map(make_batch, options.num_threads or tf.data.AUTOTUNE, deterministic=True)

    numbered = tf.data.Dataset.zip((tf.data.Dataset.counter(), blocks))
    cut_blocks = numbered.map(cut_block, 1, deterministic=True).prefetch(1)
    return cut_blocks.flat_map(batches_of_block)


def _without_short_end(blocks: tf.data.Dataset, size: int) -> tf.data.Dataset:
    """Joins a last block of less than `size` records to the one before it, so that training ends with no tiny batch."""
    nothing = (tf.zeros([0], tf.string), tf.zeros([0], tf.int64))

    @_as_it_stands
    def step(
        held: tuple[tf.Tensor, tf.Tensor], block: tuple[tf.Tensor, tf.Tensor]
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
        joined = tuple(tf.concat(parts, 0) for parts in zip(held, block, strict=True))
        return tf.cond(tf.size(block[0]) < size, lambda: (nothing, joined), lambda: (block, held))

    ended = blocks.concatenate(tf.data.Dataset.from_tensors(nothing))
    return ended.scan(nothing, step).filter(lambda serialized, _: tf.size(serialized) > 0)


def _trace(file_index: tf.Tensor, position: tf.Tensor, options: InputOptions) -> Columns:
    return {FILE_INDEX: file_index, POSITION: position} if options.trace else {}


def _pipeline_options(options: InputOptions) -> tf.data.Options:
    made = tf.data.Options()
    made.deterministic = True
    if options.num_threads:
        made.threading.private_threadpool_size = options.num_threads
    return made
