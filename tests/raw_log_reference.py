"""What the cells of a log mean, in plain Python and one at a time: what the job and the client must both equal.

Written from the documentation, not from the code: it shares no function with `features.raw_log`.
"""

import datetime
import math
import struct
from decimal import Decimal

import pyarrow as pa

from features import reject_reasons as why

LARGEST = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
REFUSED = "refused"


class Problem(Exception):
    """A cell that cannot be used."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


def unwrapped(kind):
    while isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    return kind


def is_text(kind):
    text = (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view())
    return kind in text or pa.types.is_fixed_size_binary(kind)


def is_moment(kind):
    return pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_timestamp(kind)


def is_list(kind):
    return hasattr(kind, "value_type") and not isinstance(kind, pa.DictionaryType)


# Types.


def refuses_value(kind, field_type):
    kind = unwrapped(kind)
    if is_text(kind) or pa.types.is_null(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind):
        return False
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return False
    return not (is_moment(kind) and field_type == "string")


def refuses_pairs(key, weight, field):
    weight = unwrapped(weight)
    return (
        not pairs_are_wanted(field)
        or is_moment(weight)
        or refuses_value(weight, "number")
        or refuses_value(key, field.type)
    )


def refuses(kind, field):
    """Whether a column of this type is refused for the field's values."""
    kind = unwrapped(kind)
    holds_list = field.is_many or field.type == "vector"
    if pa.types.is_map(kind):
        return not field.is_many or refuses_pairs(kind.key_type, kind.item_type, field)
    if is_list(kind):
        if not holds_list:
            return True
        kind = unwrapped(kind.value_type)
        if is_list(kind) or pa.types.is_map(kind):
            return True
    if pa.types.is_struct(kind):
        return kind.num_fields != 2 or refuses_pairs(kind.field(0).type, kind.field(1).type, field)
    if pairs_are_wanted(field) and not is_text(kind) and not pa.types.is_null(kind):
        return True
    return refuses_value(kind, field.type)


def pairs_are_wanted(field):
    return field.weighted and not field.weight_column


def refuses_weights(kind, field):
    """Whether a column of this type is refused for the field's weights."""
    kind = unwrapped(kind)
    if pa.types.is_map(kind):
        return True
    if is_list(kind):
        if not field.is_many:
            return True
        kind = unwrapped(kind.value_type)
    return is_list(kind) or pa.types.is_map(kind) or pa.types.is_struct(kind) or refuses_value(kind, "number")


# Values.


def plain_text(number):
    """A float's or decimal's digits without exponent and without needless zeros."""
    text = format(Decimal(number), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def shortest(value, kind):
    """Fewest digits that name a float of its own width."""
    code = {16: "e", 32: "f", 64: "d"}[kind.bit_width]
    for digits in range(1, 19):
        text = f"{value:.{digits}g}"
        try:
            if struct.pack(code, float(text)) == struct.pack(code, value):
                return plain_text(text)
        except OverflowError:
            pass
    raise AssertionError(value)


def exact_limit(kind):
    return {16: 2**11, 32: 2**24, 64: 2**53}[kind.bit_width]


def iso(kind, number):
    """ISO text of a date's or time's number."""
    if pa.types.is_date(kind):
        days = number if kind == pa.date32() else number // 86400000
        return str(datetime.date(1970, 1, 1) + datetime.timedelta(days=days))
    per = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=number // per)
    rest = f"{number % per:0{len(str(per)) - 1}d}".rstrip("0") if number % per else ""
    text = moment.strftime("%H:%M:%S") if pa.types.is_time(kind) else moment.isoformat()
    return text + ("." + rest if rest else "") + ("Z" if pa.types.is_timestamp(kind) and kind.tz else "")


def id_of_text(text, bad):
    if not text.lstrip("-").isascii() or not text.removeprefix("-").isdigit():
        raise Problem(bad)
    if not 0 <= int(text) < 2**63:
        raise Problem(why.ID_OUT_OF_RANGE)
    return int(text)


def float_of_text(text):
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def number(value, kind, least, bad):
    kind = unwrapped(kind)
    if is_text(kind):
        value = float_of_text(decode(value))
    value = float(value)
    if not least <= value <= LARGEST:
        raise Problem(bad)
    return value


def decode(value):
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        raise Problem(why.NOT_UTF8) from error


def one(value, kind, field_type, bad=why.BAD_FEATURE):
    """Raw value of a filled cell."""
    kind = unwrapped(kind)
    if field_type in ("number", "vector"):
        return number(value, kind, -LARGEST, why.BAD_NUMBER)
    if is_text(kind):
        return id_of_text(decode(value), bad) if field_type == "id" else decode(value)
    if is_moment(kind):
        return iso(kind, value)
    if pa.types.is_boolean(kind):
        return int(value) if field_type == "id" else str(value).lower()
    if pa.types.is_floating(kind):
        if not math.isfinite(value):
            raise Problem(bad if field_type == "id" else why.BAD_NUMBER)
        if field_type == "id" and value != int(value):
            raise Problem(bad)
        if abs(value) >= exact_limit(kind):
            raise Problem(why.INEXACT_ID)
        return id_of_text(str(int(value)), bad) if field_type == "id" else shortest(value, kind)
    text = plain_text(value) if pa.types.is_decimal(kind) else str(value)
    return id_of_text(text, bad) if field_type == "id" else text


def missing(value, kind):
    return value is None or value in ("", b"") or (isinstance(value, float) and math.isnan(value))


def pairs_of(field, cell, kind):
    """Entries of a cell with their types: (value, type, weight, type)."""
    kind = unwrapped(kind)
    if cell is None:
        return []
    if pa.types.is_map(kind):
        return [(key, kind.key_type, weight, kind.item_type) for key, weight in cell]
    if is_list(kind):
        return [pair for entry in cell for pair in pairs_of_entry(field, entry, kind.value_type)]
    if (field.is_many or field.type == "vector") and is_text(kind):
        if isinstance(cell, bytes):
            entries = cell.split(field.value_separator.encode())
        else:
            entries = cell.split(field.value_separator)
        return [pair for entry in entries for pair in pairs_of_entry(field, entry, kind)]
    return pairs_of_entry(field, cell, kind)


def pairs_of_entry(field, entry, kind):
    kind = unwrapped(kind)
    if missing(entry, kind):
        # It has a weight in the other column all the same.
        return [(entry, kind, 1.0, pa.float64())] if field.weight_column else []
    if pa.types.is_struct(kind):
        (value, weight), types = entry.values(), (kind.field(0).type, kind.field(1).type)
        return [(value, types[0], weight, types[1])]
    if not pairs_are_wanted(field):
        return [(entry, kind, 1.0, pa.float64())]
    separator = field.weight_separator.encode() if isinstance(entry, bytes) else field.weight_separator
    value, found, weight = entry.rpartition(separator)
    if not found:
        return [(entry, kind, None, None)]
    return [(value, kind, weight, kind)]


def values_of(field, cells, kinds):
    """Values and weights of a row, and the first reason by column why there are none.

    Args:
        field: to read.
        cells: of the row, by column.
        kinds: types of the columns.
    """
    found, reasons = [], {}
    for column in field.columns:
        for pair, wrong in entries_of(field, cells, kinds, column):
            found.append(pair)
            for where, reason in wrong:
                reasons.setdefault(where, []).append(reason)
    if field.type == "vector" and len(found) not in (0, field.size):
        reasons.setdefault(field.column, []).append(why.WRONG_VECTOR_SIZE)
    return found, {column: first(every) for column, every in reasons.items()}


def entries_of(field, cells, kinds, column):
    """The entries of one column that have a value: (value, weight), and what is wrong by column."""
    pairs = pairs_of(field, cells[column], kinds[column])
    weights = weights_beside(field, cells, kinds, len(pairs))
    for place, (value, value_kind, weight, weight_kind) in enumerate(pairs):
        if missing(value, value_kind) or is_listed(field, value, value_kind):
            continue
        pair, wrong = [], []
        try:
            pair.append(one(without_point_zero(field, value), value_kind, field.type))
        except Problem as problem:
            wrong.append((column, problem.reason))
        try:
            if weight_kind is None:
                wrong.append((column, why.BAD_FEATURE))
            elif field.weight_column:
                pair.append(weight_of(*weights[place]))
            else:
                pair.append(1.0 if not field.weighted else weight_of(weight, weight_kind))
        except Problem as problem:
            wrong.append((field.weight_column or column, problem.reason))
        yield tuple(pair), wrong


def weights_beside(field, cells, kinds, count):
    """Cells and types of the weights in a column of their own: none of them where they are not as many as values."""
    if not field.weight_column:
        return []
    cell, kind = cells[field.weight_column], unwrapped(kinds[field.weight_column])
    if is_list(kind):
        found = [(entry, kind.value_type) for entry in cell or []]
    elif field.is_many and is_text(kind):
        separator = field.value_separator.encode() if isinstance(cell, bytes) else field.value_separator
        found = [(entry, kind) for entry in ([] if cell is None else cell.split(separator))]
    else:
        found = [(cell, kind)]
    return found if len(found) == count else [(None, pa.null())] * count


def is_listed(field, value, kind):
    """Whether a value, as a word, is one of those that stand for none."""
    if not field.missing:
        return False
    kind = unwrapped(kind)
    if pa.types.is_boolean(kind) and str(int(value)) in field.missing:
        return True
    try:
        return one(value, kind, "string") in field.missing
    except Problem:
        return False


def without_point_zero(field, value):
    if not field.point_zero or not isinstance(value, str | bytes):
        return value
    point = b"." if isinstance(value, bytes) else "."
    zero = b"0" if isinstance(value, bytes) else "0"
    whole, found, rest = value.partition(point)
    digits = whole.isascii() and whole.isdigit()
    return whole if found and digits and rest and not rest.strip(zero) else value


def weight_of(weight, kind):
    if missing(weight, kind):
        raise Problem(why.BAD_WEIGHT)
    return number(weight, kind, 0, why.BAD_WEIGHT)


def first(reasons):
    return min(reasons, key=why.REASONS.index)


# CSV.


def csv_rows(data, header_width, begin=0, separator=b",", labels=(), looks=True):
    """Rows of CSV from a place on: (offset, row, cells or reason). Character by character.

    `labels` are the places of label columns, for telling that a quoted cell holds rows.
    """
    place = begin
    while place < len(data):
        line_end = data.find(b"\n", place) + 1 or len(data)
        try:
            cells, end = strict_row(data, place, separator)
            check_no_rows_inside(cells, header_width, separator, labels)
        except Problem as problem:
            line = data[place:line_end]
            yield place, line, why.BLANK_LINE if not line.strip() else problem.reason
            place = line_end
            continue
        row = data[place:end]
        if not row.strip():
            yield place, row, why.BLANK_LINE
        elif not decodes(row):
            yield place, row, why.NOT_UTF8
        elif len(cells) != header_width:
            yield place, row, why.WRONG_COLUMN_COUNT
        else:
            yield place, row, [bytes(cell).decode() for cell, _ in cells]
        place = end


def decodes(row):
    try:
        row.decode()
    except UnicodeDecodeError:
        return False
    return True


def strict_row(data, place, separator):
    """Cells (text, whether quoted) of the row at a place, and its end."""
    cells, cell, state = [], bytearray(), "start"
    quoted = False
    while True:
        char = data[place : place + 1]
        if state == "quoted":
            if not char:
                raise Problem(why.OPEN_QUOTE)
            if char == b'"' and data[place + 1 : place + 2] == b'"':
                cell += b'"'
                place += 1
            elif char == b'"':
                state = "closed"
            else:
                cell += char
        elif char == b'"' and state == "start":
            state, quoted = "quoted", True
        elif char in (separator, b"\n", b"") or data[place : place + 2] == b"\r\n" or data[place:] == b"\r":
            cells.append((cell, quoted))
            cell, state, quoted = bytearray(), "start", False
            if char != separator:
                return cells, min(place + (2 if char == b"\r" else 1), len(data))
        elif state == "closed":
            raise Problem(why.OPEN_QUOTE if char != b"\r" else why.WRONG_COLUMN_COUNT)
        elif char == b"\r":
            raise Problem(why.WRONG_COLUMN_COUNT)
        else:
            cell += char
            state = "bare"
        place += 1


def check_no_rows_inside(cells, width, separator, labels):
    for cell, quoted in cells:
        lines = [line.removesuffix(b"\r").split(separator) for line in bytes(cell).split(b"\n")[1:-1]]
        rows = [len(line) == width and all(line[place] in (b"0", b"1") for place in labels) for line in lines]
        if quoted and (any(rows) if labels else len(rows) > 1 and all(rows)):
            raise Problem(why.OPEN_QUOTE)
