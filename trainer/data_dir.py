"""The folder that the preprocess job made, as training sees it."""

from __future__ import annotations

import dataclasses
import fnmatch
import os
from typing import Any

import google_crc32c
import tensorflow as tf

import storage
from features import names, schema_file, vocabulary
from features.schema import Schema
from features.vocabulary import Vocabulary
from storage import contents, ownership, publish
from trainer.terminal import say

_COMMAND = "python -m trainer"


class ReplacedError(ValueError):
    """A folder that was written again while it was read."""


@dataclasses.dataclass(frozen=True)
class DataDir:
    """A complete folder.

    Attributes:
        path: of the folder.
        vocabulary: of its records.
        stamp: tells whether the job has written the folder again.
    """

    path: str
    vocabulary: Vocabulary
    stamp: bytes

    @property
    def schema(self) -> Schema:
        """Of the records."""
        return self.vocabulary.schema

    def description(self) -> dict[str, Any]:
        """What a model must agree with: the schema, the number of ids, and a checksum of which id is which."""
        keys, ids = self.vocabulary.keys, self.vocabulary.ids
        return {
            "schema": schema_file.dump(self.schema),
            "vocabulary_size": self.vocabulary.size,
            "vocabulary_crc32c": google_crc32c.extend(google_crc32c.value(keys.tobytes()), ids.tobytes()),
        }

    def records(self, split: str) -> str:
        """Glob of a split's files."""
        return names.records_pattern(self.path, split)

    def has(self, split: str) -> bool:
        """Whether there are record files of a split."""
        return bool(tf.io.gfile.glob(self.records(split)))

    def totals(self, split: str) -> dict[str, Any]:
        """Numbers of requests, impressions and records of a split, by the job's report; empty without report."""
        return dict(self._report().get("splits", {}).get(split, {}))

    def refuse_replaced(self) -> None:
        """Refuses what was read if the job has put another output in the folder: ids of two vocabularies are in it.

        Raises:
            ReplacedError: it has.
        """
        if _stamp(self.path) != self.stamp:
            raise ReplacedError(
                f"--data_dir={self.path}: another run of the job has replaced it while it was read; what was made of "
                "it since the last checkpoint is not kept. Run again, and give each run of the job its own --output_dir"
            )

    def faults(self) -> list[str]:
        """Why nothing can be learnt of the records, by the job's report; a report of an older job tells its counts."""
        report, train = self._report(), self.totals(names.TRAIN)
        labels = [label for label in (names.CLICK, names.CONVERSION) if train and not train.get(label + "s")]
        return report.get("faults", [f"split {names.TRAIN}: no {label} in any impression" for label in labels])

    def _report(self) -> dict[str, Any]:
        path = os.path.join(self.path, names.REPORT_DIR, names.REPORT_JSON)
        if not storage.exists(path):
            return {}
        with contents.taken_apart(path, "run the preprocess job again"):
            found = contents.read_object(path)
            splits = {split: dict(counts) for split, counts in found["splits"].items()}
            return {**found, "splits": splits}


def load(path: str) -> DataDir:
    """The folder, if it is complete. What the job found wrong with it is said on the terminal.

    Raises:
        ValueError: it is not, or record files are missing, or its vocabulary is damaged.
    """
    if storage.is_local(path):
        publish.recover(path, _COMMAND, "data_dir")
    if not tf.io.gfile.exists(os.path.join(path, names.SUCCESS_FILE)):
        raise ValueError(
            f"--data_dir={path}: no {names.SUCCESS_FILE} there, so the preprocess job did not end well or wrote "
            f"elsewhere; run python -m preprocess --input_dir=RAW --output_dir={path}"
        )
    stamp = _stamp(path)
    _refuse_missing(path)
    known = vocabulary.load(names.vocabulary_dir(path), read_bytes if "://" in path else None, checked=True)
    made = DataDir(path, known, stamp)
    for fault in [*made.faults(), *_lost_report(path)]:
        say(f"WARNING: --data_dir={path}: {fault}")
    return made


def _lost_report(path: str) -> list[str]:
    """What a run does without where the job's report was taken out of the folder."""
    name = f"{names.REPORT_DIR}/{names.REPORT_JSON}"
    if name not in ownership.made_files(path) or storage.exists(storage.join(path, name)):
        return []
    return [f"{name} is not there any more, so a new model does not begin at the log's rates; copy it again"]


def _refuse_missing(path: str) -> None:
    """Refuses a split of which some record files are gone; one of which all are, somebody has put aside."""
    promised: dict[str, set[str]] = {}
    for name in ownership.made_files(path):
        split, file = os.path.split(name)
        if fnmatch.fnmatch(name, names.records_pattern("", split)):
            promised.setdefault(split, set()).add(file)
    for split, made in promised.items():
        missing = sorted(made.difference(storage.names_in(storage.join(path, split))))
        if missing and len(missing) < len(made):
            raise ValueError(
                f"--data_dir={path}: {len(missing)} of {len(made)} record files of the split {split} are not there, "
                f"such as {split}/{missing[0]}; copy them again, or run python -m preprocess again"
            )


def _stamp(path: str) -> bytes:
    """Which run of the job made the folder; empty while it is being replaced, or where it bears no mark."""
    mark = os.path.join(path, ownership.MARK_FILE)
    whole = tf.io.gfile.exists(os.path.join(path, names.SUCCESS_FILE)) and tf.io.gfile.exists(mark)
    return read_bytes(mark) if whole else b""


def read_bytes(path: str) -> bytes:
    """Contents of a local or remote file."""
    with tf.io.gfile.GFile(path, "rb") as file:
        return bytes(file.read())
