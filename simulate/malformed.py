"""Broken rows for a simulated log: what a reader of it must reject, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from features import names, reject_reasons
from features.names import FEATURE_SEPARATOR, FIELD_SEPARATOR, VALUE_SEPARATOR
from simulate import randomness
from simulate.options import Options

IMPRESSION_ROW = "impression"
CONTEXT_ROW = "context"
# Sample ids and context keys of broken rows: far from those of good ones.
FIRST_BROKEN_ID = 10**15
BROKEN_KEY = "broken{:010d}"
BEYOND_INT64 = 2**63


@dataclasses.dataclass
class Row:
    """A row to be broken: columns as text, features as (field, id, value) texts joined at the end.

    Attributes:
        labels: sample id, click and conversion; empty for a context.
        key: of the context.
        features: each in the log's form.
        feature_num: None: the number of features.
        tail: further columns.
        features_column: whether the last column is there.
    """

    labels: list[str]
    key: str
    features: list[str]
    feature_num: str | None = None
    tail: list[str] = dataclasses.field(default_factory=list)
    features_column: bool = True

    def line(self) -> bytes:
        """The line with its line feed."""
        number = str(len(self.features)) if self.feature_num is None else self.feature_num
        columns = [*self.labels, self.key, number]
        if self.features_column:
            columns.append(FEATURE_SEPARATOR.join(self.features))
        return ",".join(columns + self.tail).encode("utf-8", "surrogateescape") + b"\n"


@dataclasses.dataclass(frozen=True)
class Defect:
    """One way of breaking a row.

    Attributes:
        reason: why it must be rejected, of `features.reject_reasons`.
        detail: what is wrong, for people.
        rows: kinds of row that can have it.
        apply: changes the row; None for a line that is no row at all.
        line: the line that stands in for the row.
    """

    reason: str
    detail: str
    rows: tuple[str, ...] = (IMPRESSION_ROW, CONTEXT_ROW)
    apply: Callable[[Row], None] | None = None
    line: bytes = b""


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a broken row goes: beside the rows of a request.

    Attributes:
        request: index of the request.
        impression: an impression row goes before that of this number; the request's length: behind the last.
        earlier: a request up to this one, to repeat something of.
        number: counts all broken rows of a split's file, for ids of their own.
        defect: what is wrong with it.
    """

    request: int
    impression: int
    earlier: int
    number: int
    defect: Defect


def _feature(field: str, feature_id: object, value: str = "1.0") -> str:
    return f"{field}{FIELD_SEPARATOR}{feature_id}{VALUE_SEPARATOR}{value}"


def _labels(click: str, conversion: str) -> Callable[[Row], None]:
    def apply(row: Row) -> None:
        row.labels[1:] = [click, conversion]

    return apply


def _sample_id(text: str) -> Callable[[Row], None]:
    def apply(row: Row) -> None:
        row.labels[0] = text

    return apply


def _feature_num(change: Callable[[int], str]) -> Callable[[Row], None]:
    def apply(row: Row) -> None:
        row.feature_num = change(len(row.features))

    return apply


def _extra_feature(feature: str) -> Callable[[Row], None]:
    def apply(row: Row) -> None:
        row.features.insert(1, feature)

    return apply


def _extra_value(feature_id: object, weight: str = "1.0") -> Callable[[Row], None]:
    """Another value of a weighted field of kind many, which either kind of row has one of."""

    def apply(row: Row) -> None:
        row.features.insert(1, _feature("853" if row.labels else "150_14", feature_id, weight))

    return apply


def _second_value(row: Row) -> None:
    """Another value of the first field, which is of kind one in either kind of row."""
    field = row.features[0].split(FIELD_SEPARATOR)[0]
    row.features.insert(1, _feature(field, 1))


def _bytes_in_key(row: Row) -> None:
    row.key += NOT_UTF8_BYTES


def _one_column_more(row: Row) -> None:
    row.tail = ["1"]


def _one_column_less(row: Row) -> None:
    row.features_column = False


def _nothing(row: Row) -> None:
    """The row repeats something of another, which `broken_line` sees to."""


NOT_UTF8_BYTES = b"\xff\xfe\xc3".decode("utf-8", "surrogateescape")
_IMPRESSION = (IMPRESSION_ROW,)
_CONTEXT = (CONTEXT_ROW,)

# In the order of `features.reject_reasons`; context_mismatch is for logs without a file of contexts.
DEFECTS = (
    Defect(reject_reasons.BLANK_LINE, "nothing", line=b"\n"),
    Defect(reject_reasons.BLANK_LINE, "white space", line=b" \t \n"),
    Defect(reject_reasons.NOT_UTF8, "context key", apply=_bytes_in_key),
    Defect(reject_reasons.WRONG_COLUMN_COUNT, "one column more", apply=_one_column_more),
    Defect(reject_reasons.WRONG_COLUMN_COUNT, "one column less", apply=_one_column_less),
    Defect(reject_reasons.WRONG_COLUMN_COUNT, "one word", line=b"broken\n"),
    Defect(reject_reasons.BAD_NUMBER, "feature_num is a word", apply=_feature_num(lambda number: "many")),
    Defect(reject_reasons.BAD_NUMBER, "feature_num is empty", apply=_feature_num(lambda number: "")),
    Defect(reject_reasons.BAD_NUMBER, "sample id is no number", _IMPRESSION, _sample_id("12a")),
    Defect(reject_reasons.BAD_NUMBER, "sample id is empty", _IMPRESSION, _sample_id("")),
    Defect(reject_reasons.CLICK_NOT_BINARY, "click 2", _IMPRESSION, _labels("2", "0")),
    Defect(reject_reasons.CLICK_NOT_BINARY, "click -1", _IMPRESSION, _labels("-1", "0")),
    Defect(reject_reasons.CONVERSION_NOT_BINARY, "conversion 3", _IMPRESSION, _labels("1", "3")),
    Defect(reject_reasons.CONVERSION_NOT_BINARY, "conversion -1", _IMPRESSION, _labels("1", "-1")),
    Defect(reject_reasons.CONVERSION_WITHOUT_CLICK, "click 0, conversion 1", _IMPRESSION, _labels("0", "1")),
    Defect(reject_reasons.WRONG_FEATURE_COUNT, "one less", apply=_feature_num(lambda number: str(number - 1))),
    Defect(reject_reasons.WRONG_FEATURE_COUNT, "one more", apply=_feature_num(lambda number: str(number + 1))),
    Defect(reject_reasons.BAD_FEATURE, "a word", apply=_extra_feature("broken")),
    Defect(reject_reasons.BAD_FEATURE, "no value", apply=_extra_feature(f"853{FIELD_SEPARATOR}1")),
    Defect(reject_reasons.BAD_FEATURE, "id is a word", apply=_extra_value("12a")),
    Defect(reject_reasons.BAD_FEATURE, "id is empty", apply=_extra_value("")),
    Defect(reject_reasons.BAD_FEATURE, "empty", apply=_extra_feature("")),
    Defect(reject_reasons.BAD_WEIGHT, "NaN", apply=_extra_value(1, "nan")),
    Defect(reject_reasons.BAD_WEIGHT, "negative", apply=_extra_value(1, "-0.69315")),
    Defect(reject_reasons.BAD_WEIGHT, "infinite", apply=_extra_value(1, "inf")),
    Defect(reject_reasons.BAD_WEIGHT, "a word", apply=_extra_value(1, "heavy")),
    Defect(reject_reasons.ID_OUT_OF_RANGE, "2^63", apply=_extra_value(BEYOND_INT64)),
    Defect(reject_reasons.ID_OUT_OF_RANGE, "negative id", apply=_extra_value(-7)),
    Defect(reject_reasons.ID_OUT_OF_RANGE, "sample id 2^63", _IMPRESSION, _sample_id(str(BEYOND_INT64))),
    Defect(reject_reasons.SEVERAL_VALUES, "of a field of kind one", apply=_second_value),
    Defect(reject_reasons.DUPLICATE_SAMPLE_ID, "other labels and features", _IMPRESSION, _nothing),
    Defect(reject_reasons.DUPLICATE_CONTEXT, "other features", _CONTEXT, _nothing),
)


def plan(options: Options, lengths_of: Callable[[str, int], int]) -> dict[tuple[str, str], list[Placement]]:
    """Spreads `options.malformed` rows of each reason over the files.

    Args:
        options: of the simulation.
        lengths_of: number of impressions of a split's request.

    Returns:
        For (split, kind of row) the broken rows of that file, in order of request and impression.
    """
    splits = [(names.TRAIN, options.requests), (names.TEST, options.test_requests)]
    state = randomness.stream(options.seed, "malformed")
    placements: dict[tuple[str, str], list[Placement]] = {
        (split, row): [] for split, count in splits if count for row in (IMPRESSION_ROW, CONTEXT_ROW)
    }
    counts = dict(splits)
    for turn, reason in enumerate(dict.fromkeys(defect.reason for defect in DEFECTS)):
        variants = [(defect, row) for defect in DEFECTS if defect.reason == reason for row in defect.rows]
        for number in range(options.malformed):
            defect, row = variants[number % len(variants)]
            files = [file for file in placements if file[1] == row]
            file = files[(number // len(variants) + number + turn) % len(files)]
            drawn = randomness.bits(randomness.bits(state, np.array([turn])), np.array([number]))
            where, when = (float(units[0]) for units in randomness.half_units(drawn))
            request = int(where * counts[file[0]])
            length = lengths_of(file[0], request)
            impression = length if defect.apply is _nothing else int(when * length)
            placed = Placement(request, impression, int(when * (request + 1)), len(placements[file]), defect)
            placements[file].append(placed)
    return {
        file: sorted(placed, key=lambda each: (each.request, each.impression, each.number))
        for file, placed in placements.items()
    }


def broken_impression(placement: Placement, line: bytes, first_id: int) -> bytes:
    """A broken row of sample_skeleton.

    Args:
        placement: what is wrong with it.
        line: a good row of the same request.
        first_id: sample id of the request's first impression.
    """
    _, _, _, key, _, features = line.decode().rstrip("\n").split(",")
    row = Row([str(FIRST_BROKEN_ID + placement.number), "0", "0"], key, features.split(FEATURE_SEPARATOR)[:3])
    if placement.defect.reason == reject_reasons.DUPLICATE_SAMPLE_ID:
        repeated = first_id if placement.number % 2 else 1 + placement.earlier % first_id
        row.labels = [str(repeated), "1", "1"]
    return _broken(placement.defect, row)


def broken_context(placement: Placement, line: bytes, earlier_key: str) -> bytes:
    """A broken row of common_features, from a good one and the key of a request that is not later."""
    _, _, features = line.decode().rstrip("\n").split(",")
    row = Row([], BROKEN_KEY.format(placement.number), features.split(FEATURE_SEPARATOR)[:5])
    if placement.defect.reason == reject_reasons.DUPLICATE_CONTEXT:
        row.key = earlier_key
        row.features = row.features[:1]
    return _broken(placement.defect, row)


def _broken(defect: Defect, row: Row) -> bytes:
    if defect.apply is None:
        return defect.line
    defect.apply(row)
    return row.line()
