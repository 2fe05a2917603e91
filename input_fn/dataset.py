"""The input_fn: record files to batches of requests."""

from __future__ import annotations

import dataclasses
import functools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from features import names
from features.schema import Schema
from input_fn import batches, files, parsing, pieces
from input_fn.batches import Batch
from input_fn.options import InputOptions
from input_fn.parsing import Columns
from input_fn.records import serialized_records

# Features that `InputOptions.trace` adds. FILE_INDEX: int64 [requests], the place of each request's file in
# `files.find`. POSITION: int64 [2], what to skip to go on behind this batch, records and then batches. REPEATED: bool
# scalar, whether the batch came before and fills a step up. LAST: bool scalar, whether all data are read with it.
FILE_INDEX = "input/file"
POSITION = "input/position"
REPEATED = "input/repeated"
LAST = "input/last"
TRACE = (FILE_INDEX, POSITION, REPEATED, LAST)

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
        if options.trace:
            nothing = {POSITION: tf.zeros([2], tf.int64), REPEATED: tf.constant(False), LAST: tf.constant(False)}
            columns |= {FILE_INDEX: file_index, **nothing}
        features, labels = batches.split_labels(columns)
        return prepare(features), labels

    return records.batch(size).map(make_batch, options.num_threads or tf.data.AUTOTUNE, deterministic=True)


@dataclasses.dataclass(frozen=True)
class _Block:
    """Records that are parsed at once.

    Attributes:
        start: records before it: int64 scalar.
        serialized: string [records].
        file_index: int64 [records].
        is_last: whether no block follows: bool scalar.
    """

    start: tf.Tensor
    serialized: tf.Tensor
    file_index: tf.Tensor
    is_last: tf.Tensor


def _shuffled_batches(
    records: tf.data.Dataset,
    parse: functools.partial[Columns],
    schema: Schema,
    size: int,
    options: InputOptions,
    prepare: Callable[[Columns], Columns],
) -> tf.data.Dataset:
    """Batches of pieces: blocks of `size` records are parsed, cut and dealt."""

    @_as_it_stands
    def cut_block(*parts: tf.Tensor) -> tuple[Columns, pieces.Pieces, tf.Tensor, tuple[tf.Tensor, ...]]:
        block = _Block(*parts)
        columns = parse(block.serialized, block.file_index)
        cuts = pieces.cut(columns[names.SAMPLE_ID].row_splits, options.max_impressions_per_context)
        # By the block's place and not its number: a run that goes on deals as the one that was stopped.
        seed = tf.stack([tf.constant(options.seed, tf.int64), block.start])
        dealt = cuts.take(pieces.dealing_order(cuts, seed))
        columns |= {FILE_INDEX: block.file_index} if options.trace else {}
        return columns, dealt, pieces.number_of_batches(cuts, options.batch_size), parts

    @_as_it_stands
    def places_of_block(*cut: Any) -> tf.data.Dataset:
        """The number of each batch beside its block, which is handed on and not copied."""
        *_, count, parts = cut
        repeats = tf.where(_Block(*parts).is_last & (count > 0), tf.constant(options.replicas - 1, tf.int64), 0)
        return tf.data.Dataset.zip((tf.data.Dataset.range(count + repeats), tf.data.Dataset.from_tensors(cut).repeat()))

    @_as_it_stands
    def make_batch(place: tf.Tensor, cut: tuple[Columns, pieces.Pieces, tf.Tensor, tuple[tf.Tensor, ...]]) -> Batch:
        columns, dealt, count, parts = cut
        block, number = _Block(*parts), tf.minimum(place, count - 1)
        chosen = dealt.take(tf.range(number, tf.size(dealt.request, tf.int64), count))
        made = batches.gather(columns, chosen, schema)
        if options.trace:
            position, is_last = _position_behind(block, number, count), block.is_last & (place >= count - 1)
            made |= {POSITION: position, REPEATED: place > number, LAST: is_last}
        features, labels = batches.split_labels(made)
        return prepare(features), labels

    blocks = _blocks(records.batch(size), size, options.skip_records)
    cut_blocks = blocks.map(cut_block, 1, deterministic=True).prefetch(1)
    places = cut_blocks.flat_map(places_of_block).skip(options.skip_batches)
    # Over the blocks' borders: threads that made the last batches of one go on with the first of the next.
    return places.map(make_batch, options.num_threads or tf.data.AUTOTUNE, deterministic=True)


def _position_behind(block: _Block, number: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """What to skip to go on behind batch `number` of the `count` of a block: int64 [2], records and batches."""
    behind = tf.stack([block.start + tf.size(block.serialized, tf.int64), tf.constant(0, tf.int64)])
    return tf.where(tf.equal(number, count - 1), behind, tf.stack([block.start, number + 1]))


def _blocks(blocks: tf.data.Dataset, size: int, skipped: int) -> tf.data.Dataset:
    """The parts of a `_Block` each.

    One of less than `size` records at the end joins the one before it, so that training ends with no tiny batch.
    """
    nothing = (tf.zeros([0], tf.string), tf.zeros([0], tf.int64))

    @_as_it_stands
    def join_short_end(
        held: tuple[tf.Tensor, tf.Tensor], block: tuple[tf.Tensor, tf.Tensor]
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
        joined = tuple(tf.concat(parts, 0) for parts in zip(held, block, strict=True))
        is_last = tf.size(block[0]) < size
        return tf.cond(is_last, lambda: (nothing, (*joined, is_last)), lambda: (block, (*held, is_last)))

    @_as_it_stands
    def is_filled(serialized: tf.Tensor, file_index: tf.Tensor, is_last: tf.Tensor) -> tf.Tensor:
        del file_index, is_last
        return tf.size(serialized) > 0

    @_as_it_stands
    def with_start(start: tf.Tensor, block: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        return start + tf.size(block[0], tf.int64), (start, *block)

    ended = blocks.concatenate(tf.data.Dataset.from_tensors(nothing)).scan(nothing, join_short_end)
    return ended.filter(is_filled).scan(tf.constant(skipped, tf.int64), with_start)


def _pipeline_options(options: InputOptions) -> tf.data.Options:
    made = tf.data.Options()
    made.deterministic = True
    if options.num_threads:
        made.threading.private_threadpool_size = options.num_threads
    return made
