"""Which Arrow types a field can be read of, and why not of the others. Told from a file's schema, before its rows."""

from __future__ import annotations

import pyarrow as pa

from features.schema import NUMBER, STRING, VECTOR, Field

_TEXTS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)
_PLAIN = (
    *_TEXTS,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_boolean,
    pa.types.is_null,
)
_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
    pa.types.is_map,
)
_MOMENTS = (pa.types.is_date, pa.types.is_time, pa.types.is_timestamp)


class ColumnTypeError(ValueError):
    """A column whose type the schema cannot mean. The message names file, column, type and the key that helps."""


def is_text(kind: pa.DataType) -> bool:
    """Whether values are texts, or bytes that may be texts."""
    return any(check(kind) for check in _TEXTS)


def is_list(kind: pa.DataType) -> bool:
    """Whether a cell holds any number of values."""
    return any(check(kind) for check in _LISTS)


def is_moment(kind: pa.DataType) -> bool:
    """Whether values are dates or times."""
    return any(check(kind) for check in _MOMENTS)


def plain(kind: pa.DataType) -> pa.DataType:
    """The type without its encoding: what a dictionary, a run-end encoding or an extension holds."""
    while True:
        if isinstance(kind, pa.DictionaryType | pa.RunEndEncodedType):
            kind = kind.value_type
        elif isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        else:
            return kind


def check_field(kind: pa.DataType, field: Field, source: str, column: str) -> None:
    """Raises ColumnTypeError where the field cannot be read of a column of this type."""
    if problem := _field_problem(kind, field):
        what = f"field {field.name} of type {field.type}, kind {field.kind}" + (", weighted" if field.weighted else "")
        raise ColumnTypeError(f"{source}: column {column} is {_text(kind)}; {what}, cannot be read of it: {problem}")


def check_plain(kind: pa.DataType, source: str, column: str, purpose: str) -> None:
    """Raises ColumnTypeError where the column is no plain value: for what identifies and labels a row."""
    if not (_is_plain(kind) or is_moment(plain(kind))) or _is_uuid(kind):
        raise ColumnTypeError(
            f"{source}: column {column} is {_text(kind)}; columns: {purpose} cannot be read of it: name another column"
        )


def check_number(kind: pa.DataType, source: str, column: str, purpose: str) -> None:
    """Raises ColumnTypeError where the column holds no numbers, flags or texts."""
    if not _is_plain(kind):
        raise ColumnTypeError(
            f"{source}: column {column} is {_text(kind)}; columns: {purpose} cannot be read of it: "
            "name a column of numbers"
        )


def check_time(kind: pa.DataType, source: str, column: str, purpose: str = "time") -> None:
    """Raises ColumnTypeError where the column does not say when: a time of day does not say of which day."""
    if not (_is_plain(kind) or is_moment(plain(kind))) or pa.types.is_time(plain(kind)):
        raise ColumnTypeError(
            f"{source}: column {column} is {_text(kind)}; columns: {purpose} cannot be read of it: "
            "name a column of timestamps, dates, ISO texts or epoch numbers"
        )


def check_weights(kind: pa.DataType, field: Field, source: str) -> None:
    """Raises ColumnTypeError where the field's column of weights holds no numbers or texts, one for each value."""
    within = plain(kind)
    is_list_of_values = is_list(within) and not pa.types.is_map(within)
    if (is_list_of_values and not field.holds_list) or not _is_plain(within.value_type if is_list_of_values else kind):
        raise ColumnTypeError(
            f"{source}: column {field.weight_column} is {_text(kind)}; weights of field {field.name} (weight_column) "
            f"cannot be read of it: write numbers, or lists of numbers where the field is kind: many"
        )


def _text(kind: pa.DataType) -> str:
    return str(kind).replace("\n", " ")


def _is_plain(kind: pa.DataType) -> bool:
    return any(check(plain(kind)) for check in _PLAIN) and not _is_uuid(kind)


def _is_uuid(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.uuid"


def _field_problem(kind: pa.DataType, field: Field) -> str:
    """What is wrong and which key of the schema helps; empty where nothing is."""
    within = plain(kind)
    if is_list(within):
        return _list_problem(within, field)
    if pa.types.is_struct(within):
        return _pair_problem(within, field)
    if _pairs_wanted(field) and not is_text(within) and not pa.types.is_null(within):
        return "it has no weights; give the field weighted: false, or a column of texts value:weight, pairs or maps"
    return _value_problem(kind, field)


def _pairs_wanted(field: Field) -> bool:
    """Whether weights stand beside the values, and not in a column of their own."""
    return field.weighted and not field.weight_column


def _list_problem(kind: pa.DataType, field: Field) -> str:
    if not field.holds_list:
        return "its cells hold lists; give the field kind: many"
    if pa.types.is_map(kind):
        return _pair_problem(pa.struct([("key", kind.key_type), ("value", kind.item_type)]), field)
    element = plain(kind.value_type)
    if pa.types.is_struct(element):
        return _pair_problem(element, field)
    if is_list(element):
        return "lists of lists have no meaning here; kind: many takes one list in a cell"
    if _pairs_wanted(field) and not is_text(element) and not pa.types.is_null(element):
        return "its values have no weights; give the field weighted: false, or a list of pairs (value, weight) or a map"
    return _value_problem(kind.value_type, field)


def _pair_problem(kind: pa.StructType, field: Field) -> str:
    if not _pairs_wanted(field):
        return "it holds pairs; give the field weighted: true, or a column of plain values"
    if kind.num_fields != 2:
        return f"weighted: true takes structs of two, a value and its weight, not of {kind.num_fields}"
    value, weight = (kind.field(place).type for place in range(2))
    if not _is_plain(weight):
        return f"weighted: true takes a number as weight, not {_text(weight)}"
    return _value_problem(value, field)


def _value_problem(kind: pa.DataType, field: Field) -> str:
    if _is_plain(kind):
        return ""
    if is_moment(plain(kind)):
        if field.type == STRING:
            return ""
        return "dates and times are no numbers; give the field type: string, whose words are their ISO texts"
    wanted = "numbers or texts" if field.type in (NUMBER, VECTOR) else "texts, whole numbers or flags"
    return f"type: {field.type} takes {wanted}; write the column as one of these"
