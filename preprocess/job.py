"""What every task of a run knows: settings, schema, input files, partitions and where intermediate files go."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import storage
from features import names, vocabulary
from features.schema import Schema
from preprocess import plan_file
from preprocess.exchange import channels
from preprocess.options import GZIP, Options
from preprocess.partition import Partitions
from preprocess.read.inputs import InputFile

_RECORDS_DIR = "records"


@dataclasses.dataclass(frozen=True)
class Job:
    """One run. Travels to every worker, so it is small: paths and settings, no data.

    Attributes:
        options: settings.
        schema: of the log.
        files: all files of the log, by index; of those whose split is not asked for no block is read.
        partitions: of the requests.
        folder: of the run's intermediate files, below the output folder.
        not_read: a line for each file of the input that is passed over, with the reason.
    """

    options: Options
    schema: Schema
    files: tuple[InputFile, ...]
    partitions: Partitions
    folder: str
    not_read: tuple[str, ...] = ()

    def path(self, *parts: str) -> str:
        """Path of an intermediate file."""
        return storage.join(self.folder, *parts)

    @property
    def vocabulary_dir(self) -> str:
        """The vocabulary in use: the given one, or the one that this run builds."""
        return self.options.vocabulary or self.path(names.VOCABULARY_DIR)

    @property
    def repeats_context(self) -> bool:
        """Whether each row of the log carries its context (CSV, Parquet), or contexts have a file of their own."""
        return self.options.input_format != names.ALICCP

    def key_count(self, channel: str) -> int:
        """Number of keys of a channel of the exchange."""
        return channels.key_count(channel, self.partitions, len(self.files))

    @property
    def record_suffix(self) -> str:
        """How names of record files end."""
        return names.RECORD_SUFFIX + (names.GZIP_SUFFIX if self.options.compression == GZIP else "")

    def records_dir(self, split: str) -> str:
        """Folder of a split's records, below the run's: no name of a split meets one of a step."""
        return storage.join(_RECORDS_DIR, split)

    def shard_path(self, split: str, shard: int) -> str:
        """Where the records of a shard are written."""
        count = self.partitions.shards[split]
        return self.path(self.records_dir(split), f"part-{shard:05d}-of-{count:05d}{self.record_suffix}")

    def load(self, name: str) -> Any:
        """An intermediate object, by the name under which `save` wrote it."""
        return _load_object(self.path(name))

    def save(self, name: str, value: object) -> None:
        """Writes an intermediate object for later steps."""
        plan_file.save(self.path(name), value)

    def load_vocabulary(self) -> vocabulary.Vocabulary:
        """The vocabulary in use, mapped into memory where it is local."""
        return _load_vocabulary(self.vocabulary_dir)


# A worker runs many tasks that read the same plan. Paths are unique to a run, so an entry is never stale.
@functools.lru_cache(maxsize=4)
def _load_object(path: str) -> Any:
    return plan_file.load(path)


@functools.lru_cache(maxsize=1)
def _load_vocabulary(folder: str) -> vocabulary.Vocabulary:
    return vocabulary.load(folder)
