"""Which columns of a sample are no features: labels, request, sample id, weight, time, user; and what tells labels."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from preprocess.suggest.facts import Facts

_TRUE = ("1", "1.0", "true", "True", "TRUE", "yes", "Y", "y", "t")
_FALSE = ("0", "0.0", "false", "False", "FALSE", "no", "N", "n", "f")
_CLICK_NAMES = re.compile(
    r"(is_?|has_?)?(click(s|ed)?|clk|visit(ed)?|open(ed)?)|.*_(click|clk)(ed)?|click_?label", re.I
)
_CONVERSION_NAMES = re.compile(
    r"(is_?|has_?)?(conversions?|converted|purchased?|buy|bought|orders?|ordered|pay|paid|long_?view|install(ed)?)"
    r"|.*_(conversion|purchase|buy|order|pay)|conversion_?label",
    re.I,
)
_CLICK_EVENTS = ("click", "clicks", "clk", "view_item", "pv")
_CONVERSION_EVENTS = ("purchase", "buy", "order", "conversion", "transaction", "pay")
_REQUEST_NAMES = re.compile(
    r"(request|session|search|query|page_?view|impression_?group|req|slate|srch)(_?(id|no|key))?", re.I
)
_USER_NAMES = re.compile(r"(user|uid|member|customer|visitor|device|consumer)(_?(id|no|key))?", re.I)
_TIME_NAMES = re.compile(r".*(time(stamp)?|_ts|date|_ms)|ts|dt", re.I)
_SAMPLE_NAMES = re.compile(r"(sample|impression|row|record|log|event)_?(id|no|number)|id", re.I)
_WEIGHT_NAMES = re.compile(r"(sample|impression|instance)_?weight|weight", re.I)
# A request has at least so many rows on average, else it shares nothing.
_LEAST_ROWS_OF_REQUEST = 1.2


class NoLabelError(ValueError):
    """No column looks like a label, and none was named."""


@dataclasses.dataclass(frozen=True)
class Label:
    """A label: its column, which rows have it (bool [rows]), and how 1 and 0 are spelled."""

    column: str
    is_set: np.ndarray
    spellings: tuple[str, ...] = ("1",)
    others: tuple[str, ...] = ("0",)


@dataclasses.dataclass(frozen=True)
class Purposes:
    """The columns that are no features.

    Attributes:
        click: label.
        conversion: label.
        request: columns that name a request together.
        request_of_rows: number of each row's request: int64 [rows].
        sample_id: column, or empty.
        weight: column, or empty.
        time: column, or empty.
        user: column, or empty.
    """

    click: Label
    conversion: Label
    request: tuple[str, ...]
    request_of_rows: np.ndarray
    sample_id: str
    weight: str
    time: str
    user: str

    @property
    def conversions_without_click(self) -> int:
        """Rows of the sample that convert where nothing was clicked."""
        return int((self.conversion.is_set & ~self.click.is_set).sum())


def find(facts: Mapping[str, Facts], click: str = "", conversion: str = "") -> Purposes:
    """Purposes of the columns; `click` and `conversion` name the labels where the caller knows them.

    Raises:
        NoLabelError: no column looks like a label.
    """
    labels = _labels(facts, click, conversion)
    taken = {label.column for label in labels}
    user = _first(facts, _USER_NAMES, lambda fact: len(fact.values) > 1, taken)
    time = _first(facts, _TIME_NAMES, lambda fact: fact.is_time, taken)
    request, request_of_rows = _request(facts, user, time, taken)
    sample_id = _first(facts, _SAMPLE_NAMES, lambda fact: fact.is_whole and _is_distinct(fact), taken)
    weight = _first(facts, _WEIGHT_NAMES, lambda fact: fact.is_number, taken)
    return Purposes(*labels, request, request_of_rows, sample_id, weight, time, user)


def rows_apart(fact: Facts) -> bool:
    """Whether a column has another value in every row, so that nothing is seen twice."""
    return _is_distinct(fact) and fact.rows > 1


def is_called_time(fact: Facts) -> bool:
    """Whether a column is a time by its name, and whole numbers or points in time by its values."""
    return bool(_TIME_NAMES.fullmatch(fact.name)) and (fact.is_time or fact.is_whole or fact.is_whole_with_point)


def gives_away(fact: Facts, purposes: Purposes) -> str:
    """Which label a column tells, having values (other than 0) only where it is set; empty if none."""
    filled = fact.present & ~fact.rows_with(("0", "0.0", "0.00", "-1"))
    if not filled.any() or filled.all():
        return ""
    for name, label in (("conversion", purposes.conversion), ("click", purposes.click)):
        enough = filled.sum() > 0.5 * label.is_set.sum()
        if enough and not (filled & ~label.is_set).any() and not label.is_set.all():
            return name
    return ""


def _labels(facts: Mapping[str, Facts], click: str, conversion: str) -> tuple[Label, Label]:
    for flag, column in (("click", click), ("conversion", conversion)):
        if column and column not in facts:
            raise NoLabelError(f"--{flag}={column}: no such column; the log has {', '.join(facts)}")
    if not click and not conversion and (found := _event_labels(facts)):
        return found
    binary = {name: label for name, fact in facts.items() if (label := _binary(fact))}
    for flag, column in (("click", click), ("conversion", conversion)):
        if column and column not in binary:
            values = ", ".join(map(repr, facts[column].values[:5]))
            raise NoLabelError(f"--{flag}={column}: its values are not two, 0 and 1, but {values}")
    clicks = _by_name(binary, _CLICK_NAMES, {conversion})
    chosen_click = binary.get(click) or (clicks[0] if clicks else None)
    conversions = _by_name(binary, _CONVERSION_NAMES, {chosen_click.column if chosen_click else ""})
    chosen = binary.get(conversion) or (conversions[0] if conversions else None)
    if chosen_click is None or chosen is None:
        missing = "click" if chosen_click is None else "conversion"
        able = ", ".join(binary) or "none"
        raise NoLabelError(
            f"no column looks like a {missing} by its name; give --{missing}=COLUMN. Columns of two values: {able}"
        )
    return chosen_click, chosen


def _event_labels(facts: Mapping[str, Facts]) -> tuple[Label, Label] | None:
    """Labels of a column of event words, such as view, click, purchase."""
    for fact in facts.values():
        if len(fact.values) > 20:
            continue
        clicks = tuple(value for value in fact.values if value.lower() in _CLICK_EVENTS)
        conversions = tuple(value for value in fact.values if value.lower() in _CONVERSION_EVENTS)
        if clicks and conversions:
            both = clicks + conversions
            return (
                Label(fact.name, fact.rows_with(both), both, ()),
                Label(fact.name, fact.rows_with(conversions), conversions, ()),
            )
    return None


def _binary(fact: Facts) -> Label | None:
    values = set(fact.values)
    if fact.is_many or not values or not values <= {*_TRUE, *_FALSE} or len(values) > 4:
        return None
    spellings = tuple(value for value in _TRUE if value in values) or ("1",)
    others = tuple(value for value in _FALSE if value in values) or ("0",)
    if not fact.present.all():
        others += ("", *fact.missing)
    return Label(fact.name, fact.rows_with(spellings), spellings, others)


def _by_name(binary: Mapping[str, Label], pattern: re.Pattern[str], taken: set[str]) -> list[Label]:
    return [label for name, label in binary.items() if pattern.fullmatch(name) and name not in taken]


def _first(facts: Mapping[str, Facts], pattern: re.Pattern[str], able: Callable[[Facts], bool], taken: set[str]) -> str:
    found = (name for name, fact in facts.items() if pattern.fullmatch(name) and name not in taken and able(fact))
    return next(found, "")


def _is_distinct(fact: Facts) -> bool:
    return len(fact.values) == fact.rows


def _request(facts: Mapping[str, Facts], user: str, time: str, taken: set[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Columns that name a request, and each row's: by name, else user and time together."""
    alone = np.arange(next(iter(facts.values())).rows)
    candidates: list[tuple[str, ...]] = [(n,) for n in facts if _REQUEST_NAMES.fullmatch(n) and n not in taken]
    candidates += [(user, time)] if user and time else []
    for columns in candidates:
        rows = _groups([facts[column] for column in columns])
        if len(alone) / max(rows.max(initial=0) + 1, 1) >= _LEAST_ROWS_OF_REQUEST:
            return columns, rows
    return (), alone


def _groups(facts: Sequence[Facts]) -> np.ndarray:
    """Number of the combination of values of each row: int64 [rows]."""
    rows = np.zeros(facts[0].rows, np.int64)
    for fact in facts:
        rows = np.unique(rows * (len(fact.values) + 1) + fact.codes + 1, return_inverse=True)[1]
    return rows


def constant_within(fact: Facts, request_of_rows: np.ndarray) -> bool:
    """Whether the rows of each request have the same value."""
    pairs = np.unique(np.stack([request_of_rows, fact.codes], 1), axis=0)
    return len(pairs) == len(np.unique(request_of_rows))
