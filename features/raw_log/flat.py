"""Arrow arrays of plain values to ids, numbers, words and weights: whole arrays where they are regular, else each.

One meaning for every type that a column may have:

    text, bytes     as it stands; `raw_values` says which texts are ids and numbers; an empty one is no value
    whole numbers   themselves; as a word their digits
    floats          NaN is no value; an id if whole and so small that it cannot have been rounded; as a word the fewest
                    digits that name it, without exponent: 12 for the 12.0 of pandas, which keeps whole numbers so where
                    some are missing
    decimals        the same, exactly
    flags           the ids and numbers 0 and 1, the words false and true
    dates, times    words alone, in ISO 8601 without zeros at the end of a second; Z behind those that have a time zone
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features import raw_values, reject_reasons
from features.raw_log import arrow_types, ragged_lists
from features.raw_values import ValueProblem

# Reason of what has no defect: larger than any index in `reject_reasons.REASONS`.
FINE = 255
_INDEX = {reason: index for index, reason in enumerate(reject_reasons.REASONS)}
# So many digits cannot overflow.
_SAFE_DIGITS = 18
_DIGIT = np.zeros(256, bool)
_DIGIT[list(b"0123456789")] = True
_OF_NUMBER = _DIGIT.copy()
_OF_NUMBER[list(b"+-.eE")] = True


@dataclasses.dataclass(frozen=True)
class Flat:
    """Values of an array, in its order.

    Attributes:
        values: ids (int64), numbers (float64) or words (Arrow binary) [n]; anything where not filled, or with a reason.
        filled: where there is a value, bool [n].
        reasons: index in `reject_reasons.REASONS` of what is wrong with it, FINE for nothing: uint8 [n].
    """

    values: Any
    filled: np.ndarray
    reasons: np.ndarray


def ids(column: pa.Array, reason: str = reject_reasons.BAD_FEATURE) -> Flat:
    """Ids; `reason` is that of what is no whole number."""
    column, filled = _decoded(column)
    kind = column.type
    if arrow_types.is_text(kind):
        return _of_texts(column, lambda text: raw_values.parse_id(text, reason), _plain_ids, np.int64)
    if pa.types.is_decimal(kind):
        return _of_decimals(column, filled, lambda text: raw_values.parse_id(text, reason), np.int64)
    if pa.types.is_floating(kind):
        return _ids_of_floats(column, filled, reason)
    if pa.types.is_null(kind):
        return _flat(np.zeros(len(column), np.int64), filled)
    whole = _numpy(column.cast(pa.uint8()) if pa.types.is_boolean(kind) else column)
    bad = (whole < 0) | (whole > np.uint64(raw_values.MAX_ID))
    return _flat(np.where(bad, 0, whole).astype(np.int64), filled, bad & filled, _INDEX[reject_reasons.ID_OUT_OF_RANGE])


def numbers(column: pa.Array) -> Flat:
    """Numbers."""
    return _numbers(column, raw_values.parse_number, -raw_values.MAX_FLOAT32, reject_reasons.BAD_NUMBER)


def weights(column: pa.Array) -> Flat:
    """Weights; where there is none, a bad weight is noted: a value that should have one has none."""
    found = _numbers(column, raw_values.parse_weight, 0, reject_reasons.BAD_WEIGHT)
    missing = ~found.filled
    return Flat(found.values, found.filled, np.where(missing, _INDEX[reject_reasons.BAD_WEIGHT], found.reasons))


def words(column: pa.Array) -> Flat:
    """Words, as UTF-8."""
    column, filled = _decoded(column)
    if arrow_types.is_text(column.type):
        return _words_of_texts(column)
    if pa.types.is_null(column.type):
        return _flat(_texts([""] * len(column)), filled)
    return _words_of_values(column, filled)


def _decoded(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The column without encoding, texts as binary, and where it is not null (and no NaN)."""
    column = ragged_lists.decoded(column)
    if arrow_types.is_text(column.type):
        return texts_of(column), np.empty(0, bool)
    filled = _bools(column.is_valid())
    if pa.types.is_floating(column.type):
        filled &= ~np.isnan(_numpy(column))
    return column, filled


def texts_of(column: pa.Array) -> pa.Array:
    """A column of texts or bytes of any form as binary, null as empty."""
    column = ragged_lists.decoded(column)
    if column.type != pa.binary():
        if pa.types.is_string_view(column.type) or pa.types.is_binary_view(column.type):
            column = column.cast(pa.large_binary())
        column = column.cast(pa.binary())
    return column.fill_null(b"") if column.null_count else column


def _flat(values: Any, filled: np.ndarray, bad: np.ndarray | None = None, reason: int = FINE) -> Flat:
    reasons = np.full(len(filled), FINE, np.uint8)
    if bad is not None:
        reasons[bad] = reason
    return Flat(values, filled, reasons)


def _bools(found: pa.Array) -> np.ndarray:
    return found.to_numpy(zero_copy_only=False)


def _numpy(column: pa.Array) -> np.ndarray:
    """Plain numbers as NumPy's, 0 where there is none."""
    dtype, (validity, data) = _dtype(column.type), column.buffers()
    if data is None:
        return np.zeros(len(column), dtype)
    found = np.frombuffer(data, dtype, len(column), column.offset * dtype.itemsize)
    return found if validity is None else np.where(_bools(column.is_valid()), found, dtype.type(0))


def _dtype(kind: pa.DataType) -> np.dtype:
    letter = "f" if pa.types.is_floating(kind) else "i" if pa.types.is_signed_integer(kind) else "u"
    return np.dtype(f"{letter}{kind.bit_width // 8}")


def _texts(found: list[str]) -> pa.Array:
    return pa.array([text.encode() for text in found], pa.binary())


# Of texts.


def _of_texts(
    texts: pa.Array,
    parse: Callable[[str], Any],
    plain: Callable[[pa.Array], np.ndarray | None],
    dtype: type,
) -> Flat:
    filled = _bools(pc.not_equal(pc.binary_length(texts), 0))
    everything = bool(filled.all())
    present = texts if everything else texts.filter(pa.array(filled))
    found = plain(present)
    if found is None:
        found, reasons = _each_distinct(present, parse, dtype)
    else:
        reasons = np.full(len(present), FINE, np.uint8)
    if everything:
        return Flat(found, filled, reasons)
    values: np.ndarray = np.zeros(len(texts), dtype)
    spread = np.full(len(texts), FINE, np.uint8)
    values[filled], spread[filled] = found, reasons
    return Flat(values, filled, spread)


def _plain_ids(texts: pa.Array) -> np.ndarray | None:
    if not _made_of(texts, _DIGIT) or (len(texts) and pc.max(pc.binary_length(texts)).as_py() > _SAFE_DIGITS):
        return None
    return pc.cast(texts.cast(pa.string()), pa.int64()).to_numpy()


def _plain_numbers(texts: pa.Array) -> np.ndarray | None:
    if not _made_of(texts, _OF_NUMBER):
        return None
    try:
        found = pc.cast(texts.cast(pa.string()), pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        return None
    return found if (np.abs(found) <= raw_values.MAX_FLOAT32).all() else None


def _plain_weights(texts: pa.Array) -> np.ndarray | None:
    found = _plain_numbers(texts)
    return None if found is None or (found < 0).any() else found


def _made_of(texts: pa.Array, allowed: np.ndarray) -> bool:
    """Whether the texts hold these bytes alone."""
    if not len(texts):
        return True
    _, offsets, data = texts.buffers()
    edges = np.frombuffer(offsets, np.int32, len(texts) + 1, 4 * texts.offset)
    return data is None or bool(allowed[np.frombuffer(data, np.uint8)[edges[0] : edges[-1]]].all())


def _each_distinct(texts: pa.Array, parse: Callable[[str], Any], dtype: type) -> tuple[np.ndarray, np.ndarray]:
    encoded = texts.dictionary_encode()
    parsed = [_parsed(parse, text) for text in encoded.dictionary.to_pylist()]
    codes = encoded.indices.to_numpy()
    return np.array([value for value, _ in parsed], dtype)[codes], np.array([r for _, r in parsed], np.uint8)[codes]


def _parsed(parse: Callable[[str], Any], text: bytes) -> tuple[Any, int]:
    try:
        return parse(text.decode()), FINE
    except UnicodeDecodeError:
        return 0, _INDEX[reject_reasons.NOT_UTF8]
    except ValueProblem as problem:
        return 0, _INDEX[problem.reason]


def _words_of_texts(texts: pa.Array) -> Flat:
    filled = _bools(pc.not_equal(pc.binary_length(texts), 0))
    try:
        texts.cast(pa.string())
    except pa.ArrowInvalid:
        _, reasons = _each_distinct(texts, str, object)
        return Flat(texts, filled, reasons)
    return _flat(texts, filled)


# Of numbers.


def _numbers(column: pa.Array, parse: Callable[[str], float], least: float, reason: str) -> Flat:
    column, filled = _decoded(column)
    kind = column.type
    if arrow_types.is_text(kind):
        plain = _plain_weights if reason == reject_reasons.BAD_WEIGHT else _plain_numbers
        return _of_texts(column, parse, plain, np.float64)
    if pa.types.is_decimal(kind):
        return _of_decimals(column, filled, parse, np.float64)
    if pa.types.is_null(kind):
        return _flat(np.zeros(len(column)), filled)
    found = _numpy(column.cast(pa.uint8()) if pa.types.is_boolean(kind) else column).astype(np.float64)
    bad = filled & ~((found >= least) & (found <= raw_values.MAX_FLOAT32))
    return _flat(np.where(filled & ~bad, found, 0.0), filled, bad, _INDEX[reason])


def _exact_below(kind: pa.DataType) -> float:
    """Whole numbers from here on may have been rounded when they became floats of this type."""
    return float({16: 1 << 11, 32: 1 << 24, 64: 1 << 53}[kind.bit_width])


def _ids_of_floats(column: pa.Array, filled: np.ndarray, reason: str) -> Flat:
    found = np.where(filled, _numpy(column), 0).astype(np.float64)
    reasons = np.full(len(found), FINE, np.uint8)
    reasons[found < 0] = _INDEX[reject_reasons.ID_OUT_OF_RANGE]
    reasons[np.abs(found) >= _exact_below(column.type)] = _INDEX[reject_reasons.INEXACT_ID]
    reasons[~np.isfinite(found) | (found != np.trunc(found))] = _INDEX[reason]
    return Flat(np.where(reasons == FINE, found, 0).astype(np.int64), filled, reasons)


def _of_decimals(column: pa.Array, filled: np.ndarray, parse: Callable[[str], Any], dtype: type) -> Flat:
    parsed = [(0, FINE) if v is None else _parsed(parse, _digits(v).encode()) for v in column.to_pylist()]
    return Flat(np.array([v for v, _ in parsed], dtype), filled, np.array([r for _, r in parsed], np.uint8))


def _digits(value: Decimal) -> str:
    """A decimal without exponent and without zeros at the end of its fraction."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _words_of_values(column: pa.Array, filled: np.ndarray) -> Flat:
    kind = column.type
    reasons = np.full(len(column), FINE, np.uint8)
    if pa.types.is_floating(kind):
        found = _numpy(column)
        found = np.where(filled, found, found.dtype.type(0))
        reasons[np.abs(found) >= _exact_below(kind)] = _INDEX[reject_reasons.INEXACT_ID]
        reasons[~np.isfinite(found)] = _INDEX[reject_reasons.BAD_NUMBER]
        zero = found.dtype.type(0)
        # Adding 0 makes the negative zero a positive one.
        distinct, codes = np.unique(np.where(reasons == FINE, found, zero) + zero, return_inverse=True)
        named = _texts([np.format_float_positional(value, unique=True, trim="-") for value in distinct])
        return Flat(named.take(pa.array(codes)), filled, reasons)
    if pa.types.is_decimal(kind):
        return Flat(_texts(["" if v is None else _digits(v) for v in column.to_pylist()]), filled, reasons)
    if arrow_types.is_moment(kind):
        return Flat(_texts(iso_texts(column)), filled, reasons)
    # Whole numbers and flags: Arrow writes digits, and true and false.
    return Flat(column.cast(pa.string()).cast(pa.binary()).fill_null(b""), filled, reasons)


# Of dates and times.

_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY = 86400


def iso_texts(column: pa.Array) -> list[str]:
    """Dates, times and timestamps in ISO 8601; empty for null. The unit of the column does not show."""
    kind = column.type
    if pa.types.is_date64(kind):
        column, kind = column.cast(pa.timestamp("ms")).cast(pa.date32()), pa.date32()
    whole = column.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).fill_null(0).to_numpy().astype(np.int64)
    if pa.types.is_date(kind):
        texts = np.datetime_as_string(whole.view("datetime64[D]")).tolist()
    else:
        per_second = _UNITS[kind.unit]
        seconds, rest = whole // per_second, whole % per_second
        digits = len(str(per_second)) - 1
        texts = np.datetime_as_string(seconds.view("datetime64[s]")).tolist()
        texts = [text + _fraction(part, digits) for text, part in zip(texts, rest.tolist(), strict=True)]
        if pa.types.is_time(kind):
            texts = [text[len("1970-01-01T") :] for text in texts]
        elif kind.tz is not None:
            texts = [text + "Z" for text in texts]
    filled = _bools(column.is_valid()).tolist()
    return [text if present else "" for text, present in zip(texts, filled, strict=True)]


def _fraction(part: int, digits: int) -> str:
    return "." + str(part).zfill(digits).rstrip("0") if part else ""
