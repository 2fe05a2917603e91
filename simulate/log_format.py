r"""Columns to the bytes of Ali-CCP's files.

    sample_skeleton   sample_id,click,conversion,common_feature_index,feature_num,feature_list
    common_features   common_feature_index,feature_num,feature_list
    feature_list      field \x02 feature_id \x03 value  [\x01 ...]

A value is 1.0, or a weight with up to five digits. No header; each line ends with a line feed.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.names import FEATURE_SEPARATOR, FIELD_SEPARATOR, VALUE_SEPARATOR
from simulate.audience import History
from simulate.catalog import Catalog
from simulate.exposure import Requests
from simulate.interest import Truth, log_weights
from simulate.times import Times

UNWEIGHTED = "1.0"
COLUMN_SEPARATOR = ","
TRUTH_HEADER = b"sample_id,p_click,p_conversion,conversion_if_clicked\n"
TIMES_HEADER = b"sample_id,time,click_time,conversion_time\n"
PROBABILITY_DIGITS = 9


@dataclasses.dataclass(frozen=True)
class Lines:
    """Lines of a file, each with its line feed.

    Attributes:
        data: the bytes.
        starts: int64 [lines + 1], where each line begins, and the end of the last.
    """

    data: memoryview
    starts: np.ndarray

    def line(self, index: int) -> bytes:
        """A line with its line feed."""
        return bytes(self.data[self.starts[index] : self.starts[index + 1]])


class LogFormat:
    """Formats requests of a world."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._weights = pa.array([VALUE_SEPARATOR + _shortest(weight) for weight in log_weights().tolist()])

    def common_lines(self, requests: Requests, context_keys: list[str]) -> Lines:
        """Rows of common_features: one for each request."""
        columns = [self._one("101", requests.users, requests.users >= 0)]
        columns += [self._one(field, values, values >= 0) for field, values in requests.profile.items()]
        columns += [self._history(field, history) for field, history in requests.histories.items()]
        counts = np.ones(len(requests.users), np.int64)
        for values in requests.profile.values():
            counts += values >= 0
        for history in requests.histories.values():
            counts += history.lengths
        return _lines([pa.array(context_keys), _numbers(counts), _features(columns)])

    def skeleton_lines(self, requests: Requests, truth: Truth, first_id: int, context_keys: list[str]) -> Lines:
        """Rows of sample_skeleton: one for each impression; sample ids count from `first_id`."""
        items, matches = requests.items, requests.matches
        sample_ids = np.arange(first_id, first_id + len(requests.rows))
        always = np.ones(len(requests.rows), bool)
        matched_intents = matches["853"] > 0
        intents = np.bincount(items.intent_rows, minlength=len(always))
        matched = np.bincount(items.intent_rows[matched_intents], minlength=len(always))
        columns = [
            self._one("205", items.item, always),
            self._one("206", items.category, always),
            self._one("207", items.shop, always),
            self._many("210", items.intents, intents),
            self._one("216", items.brand, items.brand >= 0),
            self._one("508", items.category, matches["508"] > 0, matches["508"]),
            self._one("509", items.shop, matches["509"] > 0, matches["509"]),
            self._one("702", items.brand, matches["702"] > 0, matches["702"]),
            self._many("853", items.intents[matched_intents], matched, matches["853"][matched_intents]),
            self._one("301", requests.places, always),
        ]
        counts = 4 + intents + matched + (items.brand >= 0)
        for field in ("508", "509", "702"):
            counts += matches[field] > 0
        keys = pa.array(context_keys).take(pa.array(requests.rows))
        labels = [_numbers(truth.click), _numbers(truth.conversion)]
        return _lines([_numbers(sample_ids), *labels, keys, _numbers(counts), _features(columns)])

    def truth_lines(self, truth: Truth, first_id: int) -> Lines:
        """Rows of the truth file."""
        sample_ids = np.arange(first_id, first_id + len(truth.click))
        probabilities = [_probabilities(truth.p_click), _probabilities(truth.p_conversion)]
        return _lines([_numbers(sample_ids), *probabilities, _numbers(truth.conversion_if_clicked)])

    def times_lines(self, times: Times, truth: Truth, first_id: int) -> Lines:
        """Rows of the times file; a click or conversion that did not happen has none."""
        sample_ids = np.arange(first_id, first_id + len(truth.click))
        clicked = _numbers(times.click, ~truth.click).fill_null("")
        converted = _numbers(times.conversion, ~truth.conversion).fill_null("")
        return _lines([_numbers(sample_ids), _numbers(times.shown), clicked, converted])

    def _one(
        self, field: str, places: np.ndarray, present: np.ndarray, counts: np.ndarray | None = None
    ) -> pa.StringArray:
        """A feature in each row, null where it is not present."""
        ids = _numbers(self._catalog.ids(field, places), ~present)
        value = VALUE_SEPARATOR + UNWEIGHTED if counts is None else self._weights.take(pa.array(counts))
        return pc.binary_join_element_wise(field + FIELD_SEPARATOR, ids, value, "")

    def _many(
        self, field: str, places: np.ndarray, lengths: np.ndarray, counts: np.ndarray | None = None
    ) -> pa.StringArray:
        """Several features in each row, null where there are none.

        What stands before each id is made part of the separator, which saves a string for every value.
        """
        ids = _numbers(self._catalog.ids(field, places))
        value = VALUE_SEPARATOR + UNWEIGHTED if counts is None else self._weights.take(pa.array(counts))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        lists = pa.ListArray.from_arrays(pa.array(offsets), pc.binary_join_element_wise(ids, value, ""))
        prefix = field + FIELD_SEPARATOR
        joined = pc.binary_join_element_wise(prefix, pc.binary_join(lists, FEATURE_SEPARATOR + prefix), "")
        return pc.if_else(pa.array(lengths > 0), joined, pa.scalar(None, pa.string()))

    def _history(self, field: str, history: History) -> pa.StringArray:
        return self._many(field, history.values, history.lengths, history.counts)


def _shortest(weight: float) -> str:
    """Digits of a weight, at least one behind the point."""
    return repr(weight)


def _numbers(values: np.ndarray, missing: np.ndarray | None = None) -> pa.StringArray:
    return pa.array(values.astype(np.int64), mask=missing).cast(pa.string())


def _features(columns: list[pa.StringArray]) -> pa.StringArray:
    return pc.binary_join_element_wise(*columns, FEATURE_SEPARATOR, null_handling="skip")


def _probabilities(units: np.ndarray) -> pa.StringArray:
    digits = pc.utf8_lpad(_numbers(units), PROBABILITY_DIGITS, "0")
    return pc.binary_join_element_wise("0.", digits, "")


def _lines(columns: list[pa.StringArray]) -> Lines:
    rows = pc.binary_join_element_wise(*columns, COLUMN_SEPARATOR)
    lines = pc.binary_join_element_wise(rows, "\n", "")
    _, offsets, data = lines.buffers()
    starts = np.frombuffer(offsets, np.int32)[: len(lines) + 1].astype(np.int64)
    return Lines(memoryview(data)[: starts[-1]], starts)
