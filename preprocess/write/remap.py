"""New ids for the codes of a piece: what is missing, filtered or unknown goes to its reserved id."""

from __future__ import annotations

import dataclasses

import numpy as np

from features import scaling
from features.scaling import Moments
from features.schema import Field, Schema
from features.vocabulary import OOV_BUCKET, UNKNOWN, Vocabulary
from preprocess.columns import ragged
from preprocess.join.piece import Column, Piece


@dataclasses.dataclass(frozen=True)
class Remapped:
    """Values of one field as records hold them.

    Attributes:
        lengths: number of values of each row, 1 or more; int64 [rows].
        ids: new ids, int64 [values]; of a dense field its numbers, float32 [values].
        weights: float32 [values]; empty for a field without weights.
    """

    lengths: np.ndarray
    ids: np.ndarray
    weights: np.ndarray


def remap(field: Field, column: Column, new_ids: np.ndarray, schema: Schema, oov: str) -> Remapped:
    """The field's column with new ids.

    Args:
        field: of the column.
        column: codes.
        new_ids: of each code, UNKNOWN where the vocabulary has none; int32 [codes].
        schema: gives the reserved ids.
        oov: what becomes of unknown ids in a field with many, one of `vocabulary.OOV_MODES`.
    """
    ids = new_ids[column.codes].astype(np.int64)
    lengths, weights = column.lengths, column.weights
    if not field.is_many or oov == OOV_BUCKET:
        ids[ids == UNKNOWN] = schema.oov_id(field)
    else:
        keep = ids != UNKNOWN
        lengths = ragged.sums(keep, lengths)
        ids = ids[keep]
        weights = weights[keep] if field.weighted else weights
    return _with_missing(lengths.astype(np.int64), ids, weights, schema.missing_id(field))


def _with_missing(lengths: np.ndarray, ids: np.ndarray, weights: np.ndarray, missing_id: int) -> Remapped:
    """Gives rows without values the missing id, with weight 1."""
    if lengths.all():
        return Remapped(lengths, ids, weights)
    filled = np.maximum(lengths, 1)
    present = np.repeat(lengths > 0, filled)
    all_ids = np.full(len(present), missing_id, np.int64)
    all_ids[present] = ids
    all_weights = weights
    if len(weights) or not len(ids):
        all_weights = np.ones(len(present), np.float32)
        all_weights[present] = weights if len(weights) else 1
    return Remapped(filled, all_ids, all_weights)


def scale(field: Field, column: Column, moments: Moments | None) -> Remapped:
    """A dense field's numbers as records hold them; a row without has NaN for each."""
    size = len(column.lengths)
    numbers = np.full((size, field.width), np.nan, np.float32)
    numbers[column.lengths > 0] = scaling.scaled(field, column.codes, moments).reshape(-1, field.width)
    return Remapped(np.full(size, field.width, np.int64), numbers.reshape(-1), np.empty(0, np.float32))


def remap_piece(piece: Piece, new_ids: np.ndarray, known: Vocabulary, oov: str) -> dict[str, Remapped]:
    """All columns of a piece as records hold them, by field name."""
    ids = {f.name: remap(f, piece.columns[f.name], new_ids, known.schema, oov) for f in known.schema.id_fields}
    dense = {
        field.name: scale(field, piece.columns[field.name], known.moments.get(field.name))
        for field in known.schema.dense_fields
    }
    return ids | dense
