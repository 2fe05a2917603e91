"""Columns of a log that are no features: what tells requests and impressions apart, labels, weight, time and user."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from features import names
from features.schema_error import SchemaError

# How a log spells the two values of a label where the schema does not say.
LABEL_IS = ("1",)
LABEL_NOT = ("0",)


@dataclasses.dataclass(frozen=True)
class Columns:
    """Columns of the raw log that are no features.

    Attributes:
        click: label.
        conversion: label.
        request: rows that share its value, or the values of several columns, share their context; None: every row is
            a request of its own.
        sample_id: whole number that tells impressions apart; None: made from the row's place in the input.
        weight: number of at least 0 that an impression counts for; None: each counts once.
        time: when the impression was shown.
        user: word or number that names the user, for metrics within each user.
        click_time: when a clicked impression was clicked; needed where `conversion_time` is given.
        conversion_time: when a clicked impression converted.
        click_is: spellings of a click.
        click_not: spellings of no click; empty: whatever is not in click_is.
        conversion_is: as click_is.
        conversion_not: as click_not.
        missing: texts that stand for no value in request, weight, time and user; the empty one always does.
    """

    click: str
    conversion: str
    request: str | tuple[str, ...] | None = None
    sample_id: str | None = None
    weight: str | None = None
    time: str | None = None
    user: str | None = None
    click_time: str | None = None
    conversion_time: str | None = None
    click_is: tuple[str, ...] = LABEL_IS
    click_not: tuple[str, ...] = LABEL_NOT
    conversion_is: tuple[str, ...] = LABEL_IS
    conversion_not: tuple[str, ...] = LABEL_NOT
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for problem, attribute in self._problems():
            raise SchemaError(problem, attribute)

    @property
    def request_columns(self) -> tuple[str, ...]:
        """The columns whose values together name a request; none where every row is one."""
        if self.request is None:
            return ()
        return (self.request,) if isinstance(self.request, str) else self.request

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns of the two labels."""
        return (self.click, self.conversion)

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The columns that tell what happened after the impression, and when: no field may read them."""
        return (*self.labels, *filter(None, (self.click_time, self.conversion_time)))

    @property
    def label_floats(self) -> tuple[str, ...]:
        """Keys of the numbers that a record has beside the labels of each impression."""
        has = {names.SAMPLE_WEIGHT: self.weight, names.KNOWN_SHARE: self.conversion_time}
        return tuple(key for key, column in has.items() if column)

    def named(self) -> list[str]:
        """The columns that there are, each once."""
        single = (self.sample_id, *self.outcomes, self.weight, self.time, self.user)
        return list(dict.fromkeys([*self.request_columns, *filter(None, single)]))

    def _problems(self) -> Iterator[tuple[str, str]]:
        request = self.request_columns
        if self.request is not None and (not request or not all(request) or len(set(request)) < len(request)):
            yield f"request {list(request)}: a column, or a list of distinct columns", "request"
        for label in ("click", "conversion"):
            spellings, others = getattr(self, f"{label}_is"), getattr(self, f"{label}_not")
            if not spellings:
                yield f"{label}: `is` is empty; it lists the spellings that mean 1", label
            if both := sorted({*spellings} & {*others}):
                yield f"{label}: {', '.join(map(repr, both))} stands in both `is` and `not`", label
        if self.click == self.conversion and self.click_is == self.conversion_is:
            yield f"click and conversion are both column {self.click} with the same spellings", "conversion"
        if (self.click_time is None) != (self.conversion_time is None):
            yield "click_time and conversion_time: a window is from one to the other, so give both", "click_time"
        for purpose in ("sample_id", "weight"):
            column = getattr(self, purpose)
            if column is not None and column in self.outcomes:
                yield f"{purpose}: column {column} is a label as well", purpose
