"""--pretrained: rows of the embedding table that begin with vectors from elsewhere, such as of an item's text."""

from __future__ import annotations

import io
import zipfile
from typing import NamedTuple

import numpy as np

import storage
from features import keys
from features.schema import ID, STRING, Field
from features.vocabulary import UNKNOWN
from model_fn.hyperparameters import Hyperparameters
from trainer.data_dir import DataDir
from trainer.terminal import say

IDS, VECTORS = "ids", "vectors"


class Rows(NamedTuple):
    """What some rows of the table begin with: new ids int64 [n], and float32 [n, embedding_size]."""

    ids: np.ndarray
    vectors: np.ndarray


def read(files: list[tuple[str, str]], data: DataDir, settings: Hyperparameters) -> Rows:
    """The rows of the fields' files; says how many of each file's the vocabulary has.

    Args:
        files: field and path; an .npz file of `ids`, as the log has them, and `vectors`, a row each.
        data: whose vocabulary names the rows.
        settings: of the model.

    Raises:
        ValueError: a field or file that cannot be used; the message names it.
    """
    found = [_of_file(name, path, data, settings.embedding_size) for name, path in files]
    # Of fields that share a vocabulary the last one counts.
    ids, vectors = (np.concatenate(parts) for parts in zip(*found, strict=True))
    last = len(ids) - 1 - np.unique(ids[::-1], return_index=True)[1]
    return Rows(ids[last], vectors[last])


def _of_file(name: str, path: str, data: DataDir, width: int) -> Rows:
    flag = f"--pretrained={name}:{path}"
    field = data.schema.by_name.get(name)
    if field is None or field.type not in (ID, STRING):
        able = ", ".join(field.name for field in data.schema.id_fields if field.type in (ID, STRING))
        raise ValueError(f"{flag}: allowed are fields of ids and words: {able}")
    raw, vectors = _arrays(path, flag)
    if vectors.ndim != 2 or len(raw) != len(vectors) or raw.ndim != 1:
        raise ValueError(f"{flag}: {IDS} {raw.shape} and {VECTORS} {vectors.shape}: a vector for each id is needed")
    size = field.embedding_size or width
    if vectors.shape[1] != size:
        setting = "the schema's embedding_size" if field.embedding_size else "--embedding_size"
        raise ValueError(
            f"{flag}: its vectors have {vectors.shape[1]} numbers and {setting} is {size}; make that "
            f"{vectors.shape[1]}, or bring them to {size} (by their first principal components)"
        )
    if not np.isfinite(vectors).all():
        raise ValueError(f"{flag}: row {int(np.argmin(np.isfinite(vectors).all(1)))} of {VECTORS} is no number")
    ids = data.vocabulary.lookup(_keys(raw, field, data, flag))
    known = ids != UNKNOWN
    say(f"{name}: {int(known.sum()):,} of {len(raw):,} pretrained rows are in the vocabulary")
    # Of a narrow field the numbers behind its own say nothing.
    rows = np.pad(vectors[known].astype(np.float32), ((0, 0), (0, max(width - size, 0))))
    return Rows(ids[known].astype(np.int64), rows)


def _arrays(path: str, flag: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(io.BytesIO(storage.read(path)), allow_pickle=False) as file:
            return file[IDS], file[VECTORS]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{flag}: an .npz file of {IDS} and {VECTORS} is needed ({error})") from error


def _keys(raw: np.ndarray, field: Field, data: DataDir, flag: str) -> np.ndarray:
    is_whole = np.issubdtype(raw.dtype, np.integer)
    if field.type == ID and not is_whole:
        raise ValueError(f"{flag}: {IDS} are {raw.dtype}: whole numbers are needed, as the log has them")
    if field.type == ID:
        return keys.keys_of_ids(data.schema, field, raw.astype(np.int64))
    return keys.keys_of_strings(field, [str(word) for word in raw.tolist()])
