"""Field and Schema: the one description of a log that every package takes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

from features import names

CONTEXT = "context"
IMPRESSION = "impression"
ONE = "one"
MANY = "many"
ID = "id"
STRING = "string"
NUMBER = "number"

SIDES = (CONTEXT, IMPRESSION)
KINDS = (ONE, MANY)
TYPES = (ID, STRING, NUMBER)

# New ids at the start of the vocabulary that every field has for itself.
RESERVED_IDS_PER_FIELD = 2


class SchemaError(ValueError):
    """A schema that cannot be; `attribute` names the part of the field or schema that is wrong."""

    def __init__(self, message: str, attribute: str = "") -> None:
        super().__init__(message)
        self.attribute = attribute


@dataclasses.dataclass(frozen=True)
class Field:
    """One feature of a log.

    Attributes:
        name: name in records, reports and serving requests.
        group: user, item, combination, place or any word; fields of a group share a tower in `group_towers`.
        side: `context` (shared by the impressions of a request) or `impression`.
        kind: `one` value, or `many`.
        type: `id` (whole number >= 0), `string`, or `number` (made an id by its bucket).
        weighted: whether each value has a weight.
        column: name of the column in the raw log; the field's own name unless given.
        value_separator: between the values of a CSV cell of kind `many`.
        weight_separator: between value and weight in a CSV cell.
        boundaries: ascending bucket boundaries of a number; bucket i holds boundaries[i-1] <= value < boundaries[i].
        quantiles: number of buckets to find from the train split, for a number without boundaries.
    """

    name: str
    group: str
    side: str
    kind: str
    type: str
    weighted: bool = False
    column: str = ""
    value_separator: str = "|"
    weight_separator: str = ":"
    boundaries: tuple[float, ...] = ()
    quantiles: int = 0

    def __post_init__(self) -> None:
        if not self.column:
            object.__setattr__(self, "column", self.name)
        for problem, attribute in self._problems():
            raise SchemaError(problem, attribute)

    @property
    def is_context(self) -> bool:
        """Whether the impressions of a request share the value."""
        return self.side == CONTEXT

    @property
    def is_many(self) -> bool:
        """Whether an impression or context has any number of values."""
        return self.kind == MANY

    @property
    def weight_key(self) -> str:
        """Record key and model input of the weights."""
        return names.weight_key(self.name)

    @property
    def length_key(self) -> str:
        """Record key of the number of values of each impression."""
        return names.length_key(self.name)

    def _problems(self) -> Iterator[tuple[str, str]]:
        if not self.name or "/" in self.name or self.name in names.RESERVED_KEYS:
            reserved = ", ".join(sorted(names.RESERVED_KEYS))
            yield f"name {self.name!r}: allowed is any word without '/' other than {reserved}", "name"
        if not self.group:
            yield "group is empty: allowed is any word (user, item, combination, place ...)", "group"
        for attribute, allowed in (("side", SIDES), ("kind", KINDS), ("type", TYPES)):
            if getattr(self, attribute) not in allowed:
                yield f"{attribute} {getattr(self, attribute)!r}: allowed are {', '.join(allowed)}", attribute
        if self.is_many and not self.value_separator:
            yield "value_separator is empty: a field of kind many needs one", "value_separator"
        if self.weighted and self.weight_separator in ("", self.value_separator):
            problem = f"weight_separator {self.weight_separator!r}: allowed is any other than value_separator"
            yield problem, "weight_separator"
        yield from self._number_problems()

    def _number_problems(self) -> Iterator[tuple[str, str]]:
        if self.type != NUMBER:
            if self.boundaries or self.quantiles:
                attribute = "boundaries" if self.boundaries else "quantiles"
                yield f"{attribute} is for fields of type number, not {self.type}", attribute
            return
        if self.kind == MANY or self.weighted:
            yield "a number is of kind one and has no weight", "kind" if self.is_many else "weighted"
        if bool(self.boundaries) == bool(self.quantiles):
            yield "a number needs either boundaries (a list) or quantiles (how many buckets)", "boundaries"
        if any(low >= high for low, high in zip(self.boundaries, self.boundaries[1:], strict=False)):
            yield f"boundaries {list(self.boundaries)}: they must ascend", "boundaries"
        if self.quantiles and not 2 <= self.quantiles <= 1000:
            yield f"quantiles {self.quantiles}: allowed are 2 to 1000", "quantiles"


@dataclasses.dataclass(frozen=True)
class Columns:
    """Columns of the raw log that are no features.

    Attributes:
        request: rows that share its value share their context; None: every row is a request of its own.
        sample_id: whole number that tells impressions apart; None: made from the row's place in the input.
        click: 0 or 1.
        conversion: 0 or 1.
    """

    click: str
    conversion: str
    request: str | None = None
    sample_id: str | None = None

    def named(self) -> list[str]:
        """The columns that there are."""
        return [column for column in (self.request, self.sample_id, self.click, self.conversion) if column]


@dataclasses.dataclass(frozen=True)
class Schema:
    """All fields of a log, in order. Labels and sample_id are no fields: they cannot become model inputs.

    Attributes:
        name: for reports.
        fields: the order gives the reserved ids, so it is part of a model.
        columns: the columns that are no features.
        unique_ids: no id occurs in two fields, so an id is its own key. Only for schemas of ids alone.
    """

    name: str
    fields: tuple[Field, ...]
    columns: Columns
    unique_ids: bool = False

    def __post_init__(self) -> None:
        if not self.fields:
            raise SchemaError("fields is empty: a schema needs at least one", "fields")
        self._check_distinct([field.name for field in self.fields], "field name")
        self._check_distinct(self.columns.named() + [field.column for field in self.fields], "column")
        self._check_keys()
        words = [field.name for field in self.fields if field.type != ID]
        if self.unique_ids and words:
            problem = f"unique_ids is for schemas of ids alone; not of type id: {', '.join(words)}"
            raise SchemaError(problem, "unique_ids")

    def _check_distinct(self, found: list[str], what: str) -> None:
        twice = sorted({name for name in found if found.count(name) > 1})
        if twice:
            raise SchemaError(f"{what} {', '.join(twice)} occurs twice", "fields")

    def _check_keys(self) -> None:
        if all(field.is_context for field in self.fields):
            raise SchemaError("no field of side impression: nothing would tell a request's impressions apart", "fields")

    @functools.cached_property
    def by_name(self) -> dict[str, Field]:
        """Field of each name."""
        return {field.name: field for field in self.fields}

    @functools.cached_property
    def index(self) -> dict[str, int]:
        """Place of each field name in `fields`."""
        return {field.name: place for place, field in enumerate(self.fields)}

    @property
    def context_fields(self) -> tuple[Field, ...]:
        """Fields that a request's impressions share."""
        return tuple(field for field in self.fields if field.is_context)

    @property
    def impression_fields(self) -> tuple[Field, ...]:
        """Fields that each impression has for itself."""
        return tuple(field for field in self.fields if not field.is_context)

    @functools.cached_property
    def groups(self) -> dict[str, tuple[Field, ...]]:
        """Fields of each group, groups in order of their first field."""
        return {
            group: tuple(field for field in self.fields if field.group == group)
            for group in dict.fromkeys(field.group for field in self.fields)
        }

    @property
    def reserved_ids(self) -> int:
        """Number of new ids before the first one that the vocabulary gives out."""
        return RESERVED_IDS_PER_FIELD * len(self.fields)

    def missing_id(self, field: Field) -> int:
        """New id that stands for "this field has no value here"."""
        return RESERVED_IDS_PER_FIELD * self.index[field.name]

    def oov_id(self, field: Field) -> int:
        """New id that stands for "a value that the vocabulary does not have" (filtered or never seen)."""
        return self.missing_id(field) + 1
