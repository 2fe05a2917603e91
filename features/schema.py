"""Field and Schema: the one description of a log that every package takes."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterator, Sequence

from features import names, schema_patterns
from features.schema_columns import Columns
from features.schema_error import SchemaError
from features.schema_patterns import WILDCARD

__all__ = ["Columns", "Field", "Schema", "SchemaError"]

CONTEXT = "context"
IMPRESSION = "impression"
ONE = "one"
MANY = "many"
ID = "id"
STRING = "string"
NUMBER = "number"
VECTOR = "vector"
LOG1P = "log1p"
STANDARD = "standard"
FIRST = "first"
LAST = "last"
REJECT = "reject"
DROP_CONVERSION = "drop_conversion"
COUNT_CLICK = "count_click"
KEEP = "keep"

SIDES = (CONTEXT, IMPRESSION)
KINDS = (ONE, MANY)
TYPES = (ID, STRING, NUMBER, VECTOR)
SCALES = (LOG1P, STANDARD)
ENDS = (FIRST, LAST)
CONVERSIONS_WITHOUT_CLICK = (REJECT, DROP_CONVERSION, COUNT_CLICK, KEEP)
ENCODINGS = ("utf-8", "latin-1", "gb18030", "big5", "shift_jis", "euc_kr", "windows-1251", "windows-1252")

# New ids at the start of the vocabulary that every field has for itself.
RESERVED_IDS_PER_FIELD = 2
# Records number a row's fields in 16 bits.
MAX_FIELDS = (1 << 16) - 1
MAX_VECTOR_SIZE = 4096


@dataclasses.dataclass(frozen=True)
class Field:
    """One feature of a log.

    Attributes:
        name: name in records, reports and serving requests; with a `*`: a pattern of column names.
        group: user, item, combination, place or any word; fields of a group share a tower in `group_towers`.
        side: `context` (shared by the impressions of a request) or `impression`.
        kind: `one` value, or `many`.
        type: `id` (whole number >= 0), `string`, `number` (made an id by its bucket, or scaled) or `vector` (numbers).
        weighted: whether each value has a weight.
        column: name of the column in the raw log; the field's own name unless given.
        columns: all columns that a field with many reads, one after the other; `column` alone unless given.
        weight_column: column of the weights, where they do not stand beside the values.
        value_separator: between the values of a CSV cell of kind `many`, or of a vector.
        weight_separator: between value and weight in a CSV cell.
        boundaries: ascending bucket boundaries of a number; bucket i holds boundaries[i-1] <= value < boundaries[i].
        quantiles: number of buckets to find from the train split, for a number without boundaries.
        scale: a number that stays a number: `log1p` of it, or `standard` (mean 0 and deviation 1 in the train split).
        size: numbers in a vector.
        missing: texts that stand for no value; the empty one always does.
        point_zero: whether ids may be written as 12.0.
        vocabulary: fields that name the same one share ids and embedding rows; the field's own unless given.
        newest: where the newest entry of a history stands, `first` or `last`; empty: its order means nothing.
        embedding_size: numbers of an id's row that count for the field; 0: as many as the model's rows have.
    """

    name: str
    group: str
    side: str
    kind: str
    type: str
    weighted: bool = False
    column: str = ""
    columns: tuple[str, ...] = ()
    weight_column: str = ""
    value_separator: str = "|"
    weight_separator: str = ":"
    boundaries: tuple[float, ...] = ()
    quantiles: int = 0
    scale: str = ""
    size: int = 0
    missing: tuple[str, ...] = ()
    point_zero: bool = False
    vocabulary: str = ""
    newest: str = ""
    embedding_size: int = 0

    def __post_init__(self) -> None:
        self._set("column", self.column or (self.columns[0] if self.columns else self.name))
        self._set("columns", self.columns or (self.column,))
        self._set("weighted", self.weighted or bool(self.weight_column))
        self._set("vocabulary", self.vocabulary or self.name)
        for problem, attribute in self._problems():
            raise SchemaError(problem, attribute)

    def _set(self, attribute: str, value: object) -> None:
        object.__setattr__(self, attribute, value)

    @property
    def is_context(self) -> bool:
        """Whether the impressions of a request share the value."""
        return self.side == CONTEXT

    @property
    def is_many(self) -> bool:
        """Whether an impression or context has any number of values."""
        return self.kind == MANY

    @property
    def holds_list(self) -> bool:
        """Whether a cell of the log may hold several values."""
        return self.is_many or self.type == VECTOR

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for a field of each column that its name fits."""
        return WILDCARD in self.name

    @property
    def is_dense(self) -> bool:
        """Whether the model gets its numbers as they are, and not the embeddings of ids."""
        return self.type == VECTOR or bool(self.scale)

    @property
    def width(self) -> int:
        """Numbers of each row of a dense field."""
        return self.size or 1

    @property
    def all_columns(self) -> tuple[str, ...]:
        """Columns of values and weights."""
        return self.columns + ((self.weight_column,) if self.weight_column else ())

    def of_column(self, name: str) -> Field:
        """What a pattern says of a column that it fits."""
        return dataclasses.replace(self, name=name, column="", columns=(), vocabulary="")

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
        if (self.is_many or self.type == VECTOR) and not self.value_separator:
            yield (
                f"value_separator is empty: a field of kind {self.kind}, type {self.type} needs one",
                "value_separator",
            )
        if self.weighted and self.weight_separator in ("", self.value_separator):
            problem = f"weight_separator {self.weight_separator!r}: allowed is any other than value_separator"
            yield problem, "weight_separator"
        yield from self._column_problems()
        yield from self._number_problems()
        yield from self._vector_problems()

    def _column_problems(self) -> Iterator[tuple[str, str]]:
        if self.column != self.columns[0]:
            yield "column and columns: give one of the two", "columns"
        if len(self.columns) > 1 and not self.is_many and self.type != VECTOR:
            yield f"columns {list(self.columns)}: a field of kind one reads one column", "columns"
        if len(set(self.columns)) < len(self.columns) or not all(self.columns):
            yield f"columns {list(self.columns)}: distinct names are needed", "columns"
        if self.weight_column and len(self.columns) > 1:
            yield "weight_column is for a field of one column", "weight_column"
        if self.weight_column in self.columns:
            yield f"weight_column {self.weight_column!r} is the column of the values", "weight_column"
        if self.is_pattern and (self.columns != (self.name,) or self.vocabulary != self.name):
            attribute = "vocabulary" if self.vocabulary != self.name else "columns"
            yield f"name {self.name!r} is a pattern of columns: it has no {attribute} of its own", attribute
        if self.point_zero and self.type != ID:
            yield f"point_zero is for fields of type id, not {self.type}", "point_zero"
        if self.newest and not (self.is_many and self.is_context):
            yield "newest is for fields of kind many of the context: histories", "newest"
        if self.newest not in ("", *ENDS):
            yield f"newest {self.newest!r}: allowed are {', '.join(ENDS)}", "newest"
        if self.vocabulary != self.name and self.type not in (ID, STRING):
            yield f"vocabulary is for fields of type id or string, not {self.type}", "vocabulary"
        if self.embedding_size and self.is_dense:
            yield "embedding_size is for fields of ids; this one's numbers stay as they are", "embedding_size"
        if self.embedding_size < 0:
            yield (
                f"embedding_size {self.embedding_size}: allowed is 1 up to the model's --embedding_size",
                "embedding_size",
            )

    def _number_problems(self) -> Iterator[tuple[str, str]]:
        if self.type != NUMBER:
            for attribute in ("boundaries", "quantiles", "scale"):
                if getattr(self, attribute):
                    yield f"{attribute} is for fields of type number, not {self.type}", attribute
            return
        if self.kind == MANY or self.weighted:
            yield "a number is of kind one and has no weight", "kind" if self.is_many else "weighted"
        if bool(self.boundaries) + bool(self.quantiles) + bool(self.scale) != 1:
            problem = (
                "a number needs either boundaries (a list), quantiles (how many buckets) or "
                f"scale ({' or '.join(SCALES)})"
            )
            yield problem, "scale" if self.scale else "boundaries"
        if self.scale and self.scale not in SCALES:
            yield f"scale {self.scale!r}: allowed are {', '.join(SCALES)}", "scale"
        if any(low >= high for low, high in zip(self.boundaries, self.boundaries[1:], strict=False)):
            yield f"boundaries {list(self.boundaries)}: they must ascend", "boundaries"
        if self.quantiles and not 2 <= self.quantiles <= 1000:
            yield f"quantiles {self.quantiles}: allowed are 2 to 1000", "quantiles"

    def _vector_problems(self) -> Iterator[tuple[str, str]]:
        if self.type != VECTOR:
            if self.size:
                yield f"size is for fields of type vector, not {self.type}", "size"
            return
        if self.kind == MANY or self.weighted:
            yield "a vector is of kind one and has no weight", "kind" if self.is_many else "weighted"
        if not 1 <= self.size <= MAX_VECTOR_SIZE:
            yield f"size {self.size}: a vector has 1 to {MAX_VECTOR_SIZE} numbers", "size"
        if len(self.columns) not in (1, self.size):
            yield f"columns: {len(self.columns)} of them, size is {self.size}", "columns"


@dataclasses.dataclass(frozen=True)
class Schema:
    """All fields of a log, in order. Labels and sample_id are no fields: they cannot become model inputs.

    Attributes:
        name: for reports.
        fields: the order gives the reserved ids, so it is part of a model.
        columns: the columns that are no features.
        unique_ids: no id occurs in two fields, so an id is its own key. Only for schemas of ids alone.
        separator: between the cells of a CSV line.
        header: names of the columns of CSV files that begin without a line of names.
        encoding: of CSV files.
        trim: whether white space around CSV cells and column names is no part of them.
        conversion_without_click: what becomes of such a row: it is rejected, loses the conversion, gets the click, or
            keeps both, for a test in which conversions are known without a click.
    """

    name: str
    fields: tuple[Field, ...]
    columns: Columns
    unique_ids: bool = False
    separator: str = ","
    header: tuple[str, ...] = ()
    encoding: str = "utf-8"
    trim: bool = False
    conversion_without_click: str = REJECT

    def __post_init__(self) -> None:
        for problem, attribute in self._problems():
            raise SchemaError(problem, attribute)

    def _problems(self) -> Iterator[tuple[str, str]]:
        if not self.fields:
            yield "fields is empty: a schema needs at least one", "fields"
        if len(self.fields) > MAX_FIELDS:
            yield f"{len(self.fields):,} fields: a schema has {MAX_FIELDS:,} at most", "fields"
        if twice := _repeated([field.name for field in self.fields]):
            yield f"field name {', '.join(twice)} occurs twice", "fields"
        yield from self._purpose_problems()
        if all(field.is_context for field in self.fields):
            yield "no field of side impression: nothing would tell a request's impressions apart", "fields"
        if all(field.is_dense for field in self.fields):
            yield "no field becomes an id: at least one of type id, string or number with buckets is needed", "fields"
        words = [field.name for field in self.fields if field.type != ID]
        if self.unique_ids and words:
            yield f"unique_ids is for schemas of ids alone; not of type id: {', '.join(words)}", "unique_ids"
        yield from self._vocabulary_problems()
        yield from self._file_problems()

    def _purpose_problems(self) -> Iterator[tuple[str, str]]:
        """A column may serve several purposes, but what happened after the impression must not become a feature."""
        closed = {column for column in (*self.columns.outcomes, self.columns.sample_id) if column}
        for field in self.fields:
            if told := [column for column in field.all_columns if column in closed]:
                yield (
                    f"field {field.name} reads column {', '.join(told)}, which is a label, its time or the sample_id",
                    "fields",
                )

    def _vocabulary_problems(self) -> Iterator[tuple[str, str]]:
        by_vocabulary: dict[str, Field] = {}
        for field in self.fields:
            first = by_vocabulary.setdefault(field.vocabulary, field)
            if first.type != field.type:
                yield (
                    f"vocabulary {field.vocabulary!r}: field {first.name} is of type {first.type}, field {field.name} "
                    f"of type {field.type}; fields that share one are of one type",
                    "fields",
                )
            if first.embedding_size != field.embedding_size:
                yield (
                    f"vocabulary {field.vocabulary!r}: embedding_size is {first.embedding_size} of field {first.name} "
                    f"and {field.embedding_size} of field {field.name}; fields that share one share its rows",
                    "fields",
                )

    def _file_problems(self) -> Iterator[tuple[str, str]]:
        if len(self.separator) != 1 or not self.separator.isascii() or self.separator in '"\r\n':
            yield f"separator {self.separator!r}: one ASCII character that is neither quote nor line break", "separator"
        if twice := _repeated(self.header):
            yield f"header: {', '.join(twice)} occurs twice", "header"
        absent = [column for column in self.named_columns if column not in self.header and WILDCARD not in column]
        if self.header and absent:
            yield f"header has no column {', '.join(absent)}, which columns or fields name", "header"
        if self.encoding.lower() not in ENCODINGS:
            yield f"encoding {self.encoding!r}: allowed are {', '.join(ENCODINGS)}", "encoding"
        if self.conversion_without_click not in CONVERSIONS_WITHOUT_CLICK:
            allowed = ", ".join(CONVERSIONS_WITHOUT_CLICK)
            attribute = "conversion_without_click"
            yield f"{attribute} {self.conversion_without_click!r}: allowed are {allowed}", attribute

    @property
    def named_columns(self) -> list[str]:
        """Every column of the log that is read, each once."""
        fields = (column for field in self.fields for column in field.all_columns)
        return list(dict.fromkeys([*self.columns.named(), *fields]))

    def resolved(self, columns: Sequence[str]) -> Schema:
        """The schema of a log with these columns: a pattern becomes a field of each column that it fits.

        Raises:
            SchemaError: a pattern fits no column.
        """
        if not any(field.is_pattern for field in self.fields):
            return self
        taken = {
            *self.columns.named(),
            *(c for field in self.fields if not field.is_pattern for c in field.all_columns),
        }
        found: list[Field] = []
        for field in self.fields:
            fitting = schema_patterns.fitting(field.name, columns, taken) if field.is_pattern else [field.name]
            if not fitting:
                there = ", ".join(columns)
                raise SchemaError(f"field {field.name!r}: no column fits the pattern; the log has {there}", "fields")
            taken.update(fitting)
            found += [field.of_column(name) for name in fitting] if field.is_pattern else [field]
        return dataclasses.replace(self, fields=tuple(found))

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
    def id_fields(self) -> tuple[Field, ...]:
        """Fields whose values become ids and rows of the embedding table."""
        return tuple(field for field in self.fields if not field.is_dense)

    @functools.cached_property
    def dense_fields(self) -> tuple[Field, ...]:
        """Fields whose numbers the model gets as they are."""
        return tuple(field for field in self.fields if field.is_dense)

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


def _repeated(found: Sequence[str]) -> list[str]:
    return sorted(name for name, count in Counter(found).items() if count > 1)
