"""What a vocabulary remembers beside its ids: how often each key came lately, and keys that have no id yet.

It lies in the vocabulary's folder `history` and is read by the next day's job alone; a model does not need it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

import storage
from features import names
from features.vocabulary import ID_DTYPE, KEY_DTYPE, Vocabulary, VocabularyError, crc
from storage import contents

COUNT_DTYPE = np.dtype("<f4")
FIELD_DTYPE = np.dtype("<u2")
_REMEDY = "the vocabulary is damaged: take another day's"
# Stands for a field that the schema does not have any more, or that an older release did not note.
NO_FIELD = np.iinfo(FIELD_DTYPE).max

COUNTS, FIELDS = "counts.float32", "fields.uint16"
PENDING_KEYS, PENDING_COUNTS, PENDING_FIELDS = "pending_keys.int64", "pending_counts.float32", "pending_fields.uint16"
FREE_IDS = "free_ids.int32"
CHECKSUMS = "checksums.json"
DTYPES: dict[str, np.dtype] = {
    COUNTS: COUNT_DTYPE,
    FIELDS: FIELD_DTYPE,
    PENDING_KEYS: KEY_DTYPE,
    PENDING_COUNTS: COUNT_DTYPE,
    PENDING_FIELDS: FIELD_DTYPE,
    FREE_IDS: ID_DTYPE,
}


@dataclasses.dataclass(frozen=True)
class Counted:
    """Keys with how often they came and in which field; ascending, all arrays [n].

    Attributes:
        keys: int64.
        counts: float32, impressions, those of earlier days decayed.
        fields: uint16, place in the schema, or NO_FIELD.
    """

    keys: np.ndarray
    counts: np.ndarray
    fields: np.ndarray

    def take(self, chosen: np.ndarray | slice) -> Counted:
        """Some of the keys."""
        return Counted(self.keys[chosen], self.counts[chosen], self.fields[chosen])


@dataclasses.dataclass(frozen=True)
class History:
    """The arrays of the folder, mapped where they are local.

    Attributes:
        counts: float32 [keys], of each key of the vocabulary.
        fields: uint16 [keys].
        pending: keys without an id.
        free_ids: int32, ids that no key has.
    """

    counts: np.ndarray
    fields: np.ndarray
    pending: Counted
    free_ids: np.ndarray


def load(directory: str, vocabulary: Vocabulary) -> History:
    """History of a vocabulary folder; one without any counts as if each key had just been frequent enough.

    Raises:
        VocabularyError: a file is missing, of the wrong length, or not the one that was written.
    """
    folder = storage.join(directory, names.HISTORY_DIR)
    count = len(vocabulary.keys)
    if not storage.names_in(folder):
        floor = np.broadcast_to(COUNT_DTYPE.type(vocabulary.statistics.get("min_count", 1)), count)
        empty = Counted(np.empty(0, KEY_DTYPE), np.empty(0, COUNT_DTYPE), np.empty(0, FIELD_DTYPE))
        return History(floor, np.broadcast_to(FIELD_DTYPE.type(NO_FIELD), count), empty, np.empty(0, ID_DTYPE))
    arrays = {name: _array(storage.join(folder, name), dtype) for name, dtype in DTYPES.items()}
    pending = Counted(arrays[PENDING_KEYS], arrays[PENDING_COUNTS], arrays[PENDING_FIELDS])
    lengths = {
        COUNTS: count,
        FIELDS: count,
        PENDING_COUNTS: len(pending.keys),
        PENDING_FIELDS: len(pending.keys),
        FREE_IDS: vocabulary.unused_ids,
    }
    for name, expected in lengths.items():
        if len(arrays[name]) != expected:
            raise VocabularyError(
                f"{storage.join(folder, name)}: {len(arrays[name])} entries, expected are {expected}; {_REMEDY}"
            )
    _refuse_changed(folder, arrays)
    return History(arrays[COUNTS], arrays[FIELDS], pending, arrays[FREE_IDS])


def write(directory: str, arrays: Mapping[str, Iterable[np.ndarray]]) -> None:
    """Writes the folder into a vocabulary's, and beside the arrays their checksums; arrays not given are empty."""
    folder, checksums = storage.join(directory, names.HISTORY_DIR), dict.fromkeys(DTYPES, 0)

    def counted(name: str, parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for part in parts:
            checksums[name] = crc(part, checksums[name])
            yield part

    for name, dtype in DTYPES.items():
        parts = (np.ascontiguousarray(part, dtype) for part in arrays.get(name, ()) if len(part))
        storage.write(storage.join(folder, name), counted(name, parts))
    written = {name: f"{checksum:08x}" for name, checksum in checksums.items()}
    storage.write(storage.join(folder, CHECKSUMS), [json.dumps(written, indent=1).encode() + b"\n"])


def _refuse_changed(folder: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuses arrays that are not those that were written; a history of before there were checksums has none."""
    path = storage.join(folder, CHECKSUMS)
    if not storage.exists(path):
        return
    with contents.taken_apart(path, _REMEDY, VocabularyError):
        written = {name: int(contents.read_object(path)[name], 16) for name in DTYPES}
    for name, checksum in written.items():
        if crc(arrays[name]) != checksum:
            raise VocabularyError(f"{storage.join(folder, name)}: other bytes than were written; {_REMEDY}")


def _array(path: str, dtype: np.dtype) -> np.ndarray:
    if not storage.exists(path):
        raise VocabularyError(f"{path}: no such file, but others of the history are there; {_REMEDY}")
    with contents.taken_apart(path, _REMEDY, VocabularyError):
        if not storage.is_local(path):
            return np.frombuffer(storage.read(path), dtype)
        return np.memmap(path, dtype, "r") if os.path.getsize(path) else np.empty(0, dtype)
