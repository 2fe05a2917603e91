"""How often each new id of a field occurs, in served requests and in records: what skew is told by."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from features import keys, names, parse_spec
from features.schema import NUMBER, STRING, Field
from features.vocabulary import UNKNOWN, Vocabulary

_BINS = 10
# A share of 0 would make the index infinite.
_LEAST_SHARE = 1e-4


@dataclasses.dataclass
class FieldCounts:
    """Counts of a field's ids.

    Attributes:
        rows: contexts or impressions looked at.
        filled: those that have a value.
        values: all values.
        unknown: those that the vocabulary does not have.
        ids: how often each new id occurs; without missing and unknown ones.
    """

    rows: int = 0
    filled: int = 0
    values: int = 0
    unknown: int = 0
    ids: Counter[int] = dataclasses.field(default_factory=Counter)

    @property
    def coverage(self) -> float:
        """Share of rows with a value."""
        return self.filled / max(self.rows, 1)

    @property
    def mean_length(self) -> float:
        """Values of a row that has any."""
        return self.values / max(self.filled, 1)

    @property
    def unknown_share(self) -> float:
        """Share of values that the vocabulary does not have."""
        return self.unknown / max(self.values, 1)

    def add(self, rows: Sequence[np.ndarray], missing: int, oov: int) -> None:
        """Counts the new ids of rows; UNKNOWN and the field's OOV id are unknown, its missing id is none."""
        for row in rows:
            found = row[row != missing]
            unknown = int(np.sum((found == UNKNOWN) | (found == oov)))
            self.rows += 1
            self.filled += bool(len(found))
            self.values += len(found)
            self.unknown += unknown
            self.ids.update(found[(found != UNKNOWN) & (found != oov)].tolist())


@dataclasses.dataclass(frozen=True)
class Pair:
    """A field as it was served and as it was trained; the unknown share of training where it is known."""

    field: Field
    served: FieldCounts
    trained: FieldCounts
    unknown_trained: float | None


def of_requests(requests: Iterable[dict[str, list]], known: Vocabulary, most: int) -> dict[str, FieldCounts]:
    """Counts of columnar calls.

    Args:
        requests: value of each input.
        known: the vocabulary that the model was trained with.
        most: requests to look at.
    """
    counts = {field.name: FieldCounts() for field in known.schema.id_fields}
    for request in itertools.islice(requests, most):
        candidates = max((len(request.get(field.name, [])) for field in known.schema.impression_fields), default=0)
        for field in known.schema.id_fields:
            given = request.get(field.name, [])
            rows = [given] if field.is_context else given or [[]] * candidates
            ids = [_new_ids(field, row if isinstance(row, list) else [row], known) for row in rows]
            counts[field.name].add(ids, known.schema.missing_id(field), known.schema.oov_id(field))
    return counts


def of_records(paths: Sequence[str], known: Vocabulary, most: int) -> dict[str, FieldCounts]:
    """Counts of the first records of files, so many at most."""
    schema, spec = known.schema, parse_spec.record_spec(known.schema)
    zipped = "GZIP" if paths[0].endswith(names.GZIP_SUFFIX) else ""
    dataset = tf.data.TFRecordDataset(list(paths), zipped).take(most).batch(256)
    counts = {field.name: FieldCounts() for field in known.schema.id_fields}
    for batch in dataset.map(lambda serialized: tf.io.parse_example(serialized, spec)):
        for field in known.schema.id_fields:
            column = batch[field.name]
            ids = [np.asarray(row).reshape(-1) for row in _rows(field, column)]
            counts[field.name].add(ids, schema.missing_id(field), schema.oov_id(field))
    return counts


def psi(served: FieldCounts, trained: FieldCounts) -> float:
    """Population stability index over bins of ids that are equally frequent in training, and missing and unknown."""
    order = [new_id for new_id, _ in trained.ids.most_common()]
    weights = np.cumsum([trained.ids[new_id] for new_id in order]) / max(1, trained.ids.total())
    bins = {new_id: int(place) for new_id, place in zip(order, np.minimum(weights * _BINS, _BINS - 1), strict=True)}
    shares = [np.maximum(_binned(counts, bins), _LEAST_SHARE) for counts in (served, trained)]
    return float(np.sum((shares[0] - shares[1]) * np.log(shares[0] / shares[1])))


def _binned(counts: FieldCounts, bins: dict[int, int]) -> np.ndarray:
    """Shares: ids by bin, those that training did not have, missing."""
    found = np.zeros(_BINS + 2)
    for new_id, times in counts.ids.items():
        found[bins.get(new_id, _BINS)] += times
    # A missing value weighs as much as a row that has one.
    found[_BINS + 1] = (counts.rows - counts.filled) * max(counts.mean_length, 1.0)
    return found / max(found.sum(), 1)


def _rows(field: Field, column: tf.Tensor | tf.RaggedTensor) -> Iterable[np.ndarray]:
    """Ids of each context or impression."""
    if not isinstance(column, tf.RaggedTensor):
        return list(column.numpy().reshape(-1, 1))
    if not field.is_context:
        column = column.values
    if isinstance(column, tf.RaggedTensor):
        return np.split(column.values.numpy(), column.row_splits.numpy()[1:-1])
    return list(column.numpy().reshape(-1, 1))


def _new_ids(field: Field, values: list, known: Vocabulary) -> np.ndarray:
    """New ids of a row's raw values, padding left out."""
    if field.type == NUMBER:
        there = [value for value in values if value == value]
        found = keys.buckets_of_numbers(known.number_boundaries(field), np.asarray(there, np.float32))
        return known.lookup(keys.keys_of_ids(known.schema, field, found))
    if field.type == STRING:
        return known.lookup(keys.keys_of_strings(field, [value for value in values if value not in ("", b"")]))
    there = [value for value in values if value != names.PADDING_ID]
    return known.lookup(keys.keys_of_ids(known.schema, field, np.asarray(there, np.int64)))
