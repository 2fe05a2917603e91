"""One line of Ali-CCP's files, checked part by part: a client's, and what the job's columnar reader leaves over."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

from features import names, reject_reasons
from features.raw_values import ValueProblem, parse_id, parse_weight

T = TypeVar("T")

CONTEXT_COLUMNS = 3
IMPRESSION_COLUMNS = 6


@dataclasses.dataclass(frozen=True)
class Feature:
    """One entry of a feature list: column name of its field, id (or bits of a number) and weight."""

    field: str
    key: int
    weight: float


@dataclasses.dataclass(frozen=True)
class Row:
    """A line that can be used. Labels of a context are 0."""

    request: bytes
    features: list[Feature]
    sample_id: int = 0
    click: int = 0
    conversion: int = 0


def parse(line: bytes, one_value: dict[str, bool], is_context: bool, with_labels: bool = True) -> Row:
    """Row of a line.

    Args:
        line: with or without line end.
        one_value: of each field that the file's side has, by column name, whether it is of kind one. The id and
            weight of other fields are not looked at.
        is_context: whether the line is of common_features.
        with_labels: whether to look at click and conversion.

    Raises:
        ValueProblem: with the first of the line's defects, in the order of `reject_reasons`.
    """
    line = line.rstrip(b"\r\n")
    if not line.strip():
        raise ValueProblem(reject_reasons.BLANK_LINE, line)
    try:
        columns = line.decode("utf-8").split(",")
    except UnicodeDecodeError as error:
        raise ValueProblem(reject_reasons.NOT_UTF8, line[error.start : error.end]) from error
    if len(columns) != (CONTEXT_COLUMNS if is_context else IMPRESSION_COLUMNS):
        raise ValueProblem(reject_reasons.WRONG_COLUMN_COUNT, len(columns))
    problems = Problems()
    *labels, request, count, listed = columns
    sample_id = problems.value_of(names.SAMPLE_ID, parse_id, labels[0], reject_reasons.BAD_NUMBER) if labels else 0
    click, conversion = _labels(labels[1], labels[2], problems) if labels and with_labels else (0, 0)
    entries = listed.split(names.FEATURE_SEPARATOR) if listed else []
    if problems.value_of("", parse_id, count, reject_reasons.BAD_NUMBER) not in (None, len(entries)):
        problems.add(reject_reasons.WRONG_FEATURE_COUNT, f"{count} for {len(entries)} features")
    features = [_feature(entry, one_value, problems) for entry in entries]
    _check_single(features, one_value, problems)
    problems.raise_first()
    return Row(request.encode(), features, sample_id or 0, click, conversion)


class Problems:
    """The defects of a row; the first in the order of `reject_reasons` is the one that counts."""

    def __init__(self) -> None:
        self._found: list[ValueProblem] = []

    def add(self, reason: str, value: object, column: str = "") -> None:
        """Notes a defect."""
        self._found.append(ValueProblem(reason, value, column))

    def value_of(self, column: str, parse_value: Callable[..., T], *arguments: object) -> T | None:
        """What the parser makes of the value; None, and a defect noted, where it raises ValueProblem."""
        try:
            return parse_value(*arguments)
        except ValueProblem as problem:
            self._found.append(ValueProblem(problem.reason, problem.value, column))
            return None

    def raise_first(self) -> None:
        """Raises the defect that counts, if there is one."""
        if self._found:
            raise min(self._found, key=lambda problem: reject_reasons.REASONS.index(problem.reason))


def _labels(click: str, conversion: str, problems: Problems) -> tuple[int, int]:
    """Click and conversion as numbers; notes what is wrong with them."""
    if click not in ("0", "1"):
        problems.add(reject_reasons.CLICK_NOT_BINARY, click, names.CLICK)
    if conversion not in ("0", "1"):
        problems.add(reject_reasons.CONVERSION_NOT_BINARY, conversion, names.CONVERSION)
    if (click, conversion) == ("0", "1"):
        problems.add(reject_reasons.CONVERSION_WITHOUT_CLICK, f"{click},{conversion}", names.CONVERSION)
    return int(click == "1"), int(conversion == "1")


def _feature(entry: str, one_value: dict[str, bool], problems: Problems) -> Feature:
    field, field_end, rest = entry.partition(names.FIELD_SEPARATOR)
    value, value_end, weight = rest.partition(names.VALUE_SEPARATOR)
    if not (field and field_end and value_end):
        problems.add(reject_reasons.BAD_FEATURE, entry, field if field in one_value else "")
    if field not in one_value:
        return Feature(field, 0, 0.0)
    key = problems.value_of(field, parse_id, value, reject_reasons.BAD_FEATURE)
    return Feature(field, key or 0, problems.value_of(field, parse_weight, weight) or 0.0)


def _check_single(features: list[Feature], one_value: dict[str, bool], problems: Problems) -> None:
    single = [feature.field for feature in features if one_value.get(feature.field)]
    if len(set(single)) < len(single):
        twice = next(name for name in single if single.count(name) > 1)
        problems.add(reject_reasons.SEVERAL_VALUES, "", twice)
