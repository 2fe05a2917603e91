"""The map from keys to new ids: two binary arrays, sorted by key, and a JSON file that describes them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import google_crc32c
import numpy as np

import storage
from features import names, schema_file
from features.scaling import Moments
from features.schema import NUMBER, STANDARD, Field, Schema
from storage import contents

FORMAT_VERSION = 1
UNKNOWN = -1
KEY_DTYPE = np.dtype("<i8")
ID_DTYPE = np.dtype("<i4")
_CHECKSUM_BLOCK = 1 << 20
FILES = (names.VOCABULARY_KEYS_FILE, names.VOCABULARY_IDS_FILE, names.SCHEMA_FILE, names.VOCABULARY_FILE)
_REMEDY = "run the preprocess job again"

# In `statistics`: what becomes of ids that the vocabulary does not have, in a field with many.
OOV = "oov"
OOV_DROP = "drop"
OOV_BUCKET = "bucket"
OOV_MODES = (OOV_DROP, OOV_BUCKET)


class VocabularyError(contents.ContentsError):
    """A vocabulary folder that is incomplete, damaged or of another format version."""


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Keys and their new ids, with the schema that they were made for.

    Attributes:
        schema: of the log that the vocabulary was built from.
        keys: int64 [n], ascending.
        ids: int32 [n], new id of each key; ids from schema.reserved_ids on, frequent keys first, and behind them those
            that later days added.
        boundaries: bucket boundaries of each field of type number.
        statistics: what the job wrote beside it: min_count, per-field counts kept and dropped, OOV (drop where absent).
        unused_ids: ids below `size` that no key has: those of keys that were evicted.
        generation: its number, its parent's checksum, and what it carried, added and evicted.
        moments: mean and deviation of each number with scale `standard`.
    """

    schema: Schema
    keys: np.ndarray
    ids: np.ndarray
    boundaries: dict[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    statistics: dict[str, Any] = dataclasses.field(default_factory=dict)
    unused_ids: int = 0
    generation: dict[str, Any] = dataclasses.field(default_factory=dict)
    moments: dict[str, Moments] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = [field for field in self.schema.id_fields if field.type == NUMBER]
        missing = [field.name for field in numbers if field.name not in self.boundaries]
        unscaled = [f.name for f in self.schema.fields if f.scale == STANDARD and f.name not in self.moments]
        if self.statistics.get(OOV, OOV_DROP) not in OOV_MODES:
            raise VocabularyError(f"{OOV} {self.statistics[OOV]!r}: allowed are {', '.join(OOV_MODES)}")
        if missing:
            raise VocabularyError(f"no boundaries for the number fields {', '.join(missing)}")
        if unscaled:
            raise VocabularyError(f"no moments for the number fields {', '.join(unscaled)}")

    @property
    def size(self) -> int:
        """Number of new ids, reserved and unused ones included: rows of an embedding table."""
        return self.schema.reserved_ids + len(self.keys) + self.unused_ids

    def checksum(self) -> str:
        """Of which key has which id: 16 hexadecimal digits, the CRC-32C of the keys and that of the ids."""
        return "".join(f"{crc(array):08x}" for array in (self.keys, self.ids))

    @property
    def drops_unknown(self) -> bool:
        """Whether a field with many loses the ids that are not here; else they become its OOV id."""
        return self.statistics.get(OOV, OOV_DROP) == OOV_DROP

    def lookup(self, keys: np.ndarray) -> np.ndarray:
        """New ids of keys: int64 [n] -> int32 [n], UNKNOWN where the vocabulary has none.

        Ascending keys are looked up several times faster than shuffled ones: their searches share cache lines.
        """
        keys = np.asarray(keys, np.int64)
        if not len(self.keys):
            return np.full(len(keys), UNKNOWN, np.int32)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, self.ids[places], np.int32(UNKNOWN))

    def number_boundaries(self, field: Field) -> np.ndarray:
        """Bucket boundaries of a number: float32 [buckets - 1]."""
        return np.asarray(self.boundaries[field.name], np.float32)

    def description(self) -> dict[str, Any]:
        """Contents of vocabulary.json."""
        return {
            "format_version": FORMAT_VERSION,
            "size": self.size,
            "reserved_ids": self.schema.reserved_ids,
            "kept_ids": len(self.keys),
            "unused_ids": self.unused_ids,
            "checksum": self.checksum(),
            "generation": self.generation,
            "fields": {
                field.name: {"missing_id": self.schema.missing_id(field), "oov_id": self.schema.oov_id(field)}
                for field in self.schema.fields
            },
            "boundaries": {name: list(edges) for name, edges in self.boundaries.items()},
            "moments": {name: list(found) for name, found in self.moments.items()},
            "statistics": self.statistics,
        }

    def save(self, directory: str) -> None:
        """Writes the folder: under a temporary name first, so that it is there whole or not at all."""
        temporary = f"{directory.rstrip(os.sep)}.tmp-{os.getpid()}"
        os.makedirs(temporary)
        made = {
            names.VOCABULARY_KEYS_FILE: np.ascontiguousarray(self.keys, KEY_DTYPE),
            names.VOCABULARY_IDS_FILE: np.ascontiguousarray(self.ids, ID_DTYPE),
            names.SCHEMA_FILE: schema_file.dump(self.schema).encode(),
            names.VOCABULARY_FILE: json.dumps(self.description(), indent=1).encode() + b"\n",
        }
        for name, found in made.items():
            storage.write(os.path.join(temporary, name), [found])
        os.rename(temporary, directory)


def load(directory: str, read: Callable[[str], bytes] | None = None, checked: bool = False) -> Vocabulary:
    """Vocabulary of a folder. Local arrays are mapped, not read: loading takes milliseconds at any size.

    Args:
        directory: as the preprocess job wrote it.
        read: gives the bytes of a file of a remote folder in another way than the project's own.
        checked: whether the arrays are read nevertheless, to see that they are those that were written. A command does
            so once, for all its workers.

    Raises:
        VocabularyError: with the file that is wrong and why.
        FileNotFoundError: no vocabulary there.
    """
    if read is None and not storage.is_local(directory):
        read = storage.read
    read_bytes = read or storage.read
    path = os.path.join(directory, names.VOCABULARY_FILE)
    try:
        description = json.loads(read_bytes(path))
    except ValueError as error:
        raise VocabularyError(f"{path}: not JSON ({error}); {_REMEDY}") from error
    if not isinstance(description, dict) or description.get("format_version") != FORMAT_VERSION:
        found = description.get("format_version") if isinstance(description, dict) else None
        raise VocabularyError(f"{path}: format_version {found}, this release reads {FORMAT_VERSION}; preprocess again")
    schema_path = os.path.join(directory, names.SCHEMA_FILE)
    schema = schema_file.parse(read_bytes(schema_path), schema_path)
    with contents.taken_apart(path, _REMEDY, VocabularyError):
        described = _described(description)
        count = int(description["kept_ids"])
    keys = _array(os.path.join(directory, names.VOCABULARY_KEYS_FILE), KEY_DTYPE, count, read)
    ids = _array(os.path.join(directory, names.VOCABULARY_IDS_FILE), ID_DTYPE, count, read)
    with contents.taken_apart(path, _REMEDY, VocabularyError):
        made = Vocabulary(schema, keys, ids, **described)
    _refuse_other(path, description, made, checked)
    return made


def crc(array: np.ndarray, found: int = 0) -> int:
    """CRC-32C of an array behind those with the one `found`, block by block: it may be larger than memory."""
    for start in range(0, len(array), _CHECKSUM_BLOCK):
        found = google_crc32c.extend(found, np.ascontiguousarray(array[start : start + _CHECKSUM_BLOCK]).tobytes())
    return found


def _refuse_other(path: str, description: Mapping[str, Any], made: Vocabulary, checked: bool) -> None:
    """Refuses arrays or a schema that are not those that were written beside the description."""
    found: dict[str, Any] = {"size": made.size, "reserved_ids": made.schema.reserved_ids}
    if checked:
        found["checksum"] = made.checksum()
    for name, value in found.items():
        if description.get(name, value) != value:
            raise VocabularyError(
                f"{path}: {name} {description[name]}, but {value} by the files beside it: one was changed or is "
                f"damaged; {_REMEDY}"
            )


def _described(description: Mapping[str, Any]) -> dict[str, Any]:
    """What vocabulary.json alone holds of a vocabulary, by attribute."""
    return {
        "boundaries": {name: tuple(map(float, edges)) for name, edges in description["boundaries"].items()},
        # A vocabulary of before there were scales has none.
        "moments": {name: Moments(*map(float, found)) for name, found in description.get("moments", {}).items()},
        "statistics": dict(description["statistics"]),
        "unused_ids": int(description.get("unused_ids", 0)),
        "generation": dict(description.get("generation", {})),
    }


def _array(path: str, dtype: np.dtype, count: int, read: Callable[[str], bytes] | None) -> np.ndarray:
    with contents.taken_apart(path, _REMEDY, VocabularyError):
        if read is not None:
            array = np.frombuffer(read(path), dtype)
        elif os.path.getsize(path):
            array = np.memmap(path, dtype, "r")
        else:
            array = np.empty(0, dtype)  # an empty file cannot be mapped
    if len(array) != count:
        raise VocabularyError(f"{path}: {len(array)} entries, vocabulary.json says {count}; preprocess again")
    return array
