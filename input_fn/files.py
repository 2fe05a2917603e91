"""Record files: which there are, what they look like, and which of them is damaged."""

from __future__ import annotations

import dataclasses
import glob
import itertools
import os
import zlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from features import names
from input_fn import tfrecord
from input_fn.tfrecord import RecordError

# Records that tell how many impressions a record holds; reading them costs milliseconds.
_SAMPLE = 100


@dataclasses.dataclass(frozen=True)
class RecordShape:
    """Impressions of the first records of a data set, int64 [records]: one record or more, none of them empty."""

    impressions: np.ndarray

    @property
    def mean_impressions(self) -> float:
        """Impressions of a record."""
        return float(self.impressions.mean())

    def mean_pieces(self, max_impressions: int) -> float:
        """Pieces that a record is cut into; `max_impressions` 0 leaves it whole."""
        if not max_impressions:
            return 1.0
        return float(np.ceil(self.impressions / max_impressions).mean())


def find(pattern_or_files: str | Sequence[str]) -> list[str]:
    """Paths of the record files that patterns name, sorted. Local or remote, as `tf.io.gfile` reads them.

    Raises:
        FileNotFoundError: a pattern that no record file fits.
        RecordError: a compressed file without a byte, which TensorFlow would read as one without a record.
    """
    patterns = [pattern_or_files] if isinstance(pattern_or_files, str) else list(pattern_or_files)
    found: set[str] = set()
    for pattern in patterns:
        matches = _matches(pattern)
        if not matches:
            raise FileNotFoundError(f"{pattern}: no record file there; python -m preprocess writes them")
        found.update(matches)
    for path in found:
        if tfrecord.is_compressed(path) and not tf.io.gfile.stat(path).length:
            raise RecordError(f"{path}: empty, which a {names.GZIP_SUFFIX} file never is; copy or preprocess it again")
    return sorted(found)


def _matches(pattern: str) -> list[str]:
    if not glob.has_magic(pattern):
        return [pattern] if tf.io.gfile.exists(pattern) else []
    # A writer's temporary files have longer names.
    suffixes = (names.RECORD_SUFFIX, names.RECORD_SUFFIX + names.GZIP_SUFFIX)
    return [path for path in tf.io.gfile.glob(pattern) if path.endswith(suffixes)]


def fingerprint(paths: Sequence[str]) -> int:
    """A number that changes when files come, go or change their size; not when their folder moves."""
    listing = "\n".join(f"{os.path.basename(path)} {tf.io.gfile.stat(path).length}" for path in paths)
    return zlib.crc32(listing.encode("utf-8"))


def sample_shape(paths: Sequence[str]) -> RecordShape:
    """Shape of the first records, from the first file that has any.

    Raises:
        RecordError: no file has a record with an impression, or the first ones cannot be read.
    """
    for path in paths:
        impressions = [count for count in _first_counts(path) if count]
        if impressions:
            return RecordShape(np.array(impressions))
    raise RecordError(f"{paths[0]} and {len(paths) - 1} more files hold no impression; see the preprocess job's report")


def _first_counts(path: str) -> list[int]:
    counts = []
    for number, serialized in enumerate(itertools.islice(tfrecord.read(path), _SAMPLE)):
        feature = _example(path, number, serialized).features.feature
        counts.append(len(feature[names.SAMPLE_ID].int64_list.value))
    return counts


def find_damage(paths: Sequence[str]) -> RecordError | None:
    """What is wrong with the first file that cannot be read to its end.

    Reads all files up to there: for after a failure, since TensorFlow's does not name the file.
    """
    return next(filter(None, map(_damage, paths)), None)


def _damage(path: str) -> RecordError | None:
    try:
        for number, serialized in enumerate(tfrecord.read(path)):
            _example(path, number, serialized)
    except RecordError as error:
        return error
    return None


def _example(path: str, number: int, serialized: bytes) -> tf.train.Example:
    try:
        return tf.train.Example.FromString(serialized)
    except DecodeError as error:
        raise RecordError(f"{path}: record {number} (from 0) is no tf.train.Example; preprocess again") from error
