"""When an impression was shown: epoch numbers, ISO texts, dates and timestamps, all to seconds since 1970 in UTC.

A number is seconds, or the finer unit that gives a year below 5138: milliseconds from 1e11 on, microseconds from 1e14,
nanoseconds from 1e17. Eight digits that are a date from 1990 to 2099 are that day, as in 20260107: as seconds they
would be of August 1970. A text holds such a number, or ISO 8601; without a time zone it is UTC.
"""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features import reject_reasons
from features.raw_log import arrow_types, flat, ragged_lists
from features.raw_log.flat import FINE, Flat

_BAD_TIME = reject_reasons.REASONS.index(reject_reasons.BAD_TIME)
# A number of at least so much is of a unit that goes so many times into a second.
_UNITS = ((1e17, 10**9), (1e14, 10**6), (1e11, 10**3))
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
SECONDS_PER_DAY = 86400


def seconds(column: pa.Array) -> Flat:
    """Seconds of each cell, int64; a cell without a time has the reason `bad_time`."""
    column = ragged_lists.decoded(column)
    if arrow_types.is_text(column.type):
        return _of_texts(flat.texts_of(column))
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        found, fine = _of_moments(column), column.is_valid().to_numpy(zero_copy_only=False)
    else:
        numbers = flat.numbers(column)
        found, fine = _of_numbers(numbers.values), numbers.filled & (numbers.reasons == FINE)
    return Flat(found, fine, np.where(fine, FINE, _BAD_TIME).astype(np.uint8))


def of_text(text: str) -> int:
    """Seconds of an ISO text or an epoch number. Raises ValueError."""
    try:
        return int(_of_numbers(np.array([float(text)]))[0])
    except (ValueError, OverflowError):
        moment = datetime.datetime.fromisoformat(text.strip().removesuffix("Z"))
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)
    return int(zoned.timestamp() // 1)


def is_one(text: str) -> bool:
    """Whether `of_text` reads it."""
    try:
        of_text(text)
    except (ValueError, OverflowError):
        return False
    return True


def day_text(day: int) -> str:
    """ISO date of a number of days since 1970."""
    return str(np.datetime64(day, "D"))


def _of_numbers(numbers: np.ndarray) -> np.ndarray:
    size = np.abs(numbers)
    per_second = np.ones(len(numbers))
    for least, unit in reversed(_UNITS):
        per_second[size >= least] = unit
    found = np.floor(numbers / per_second).astype(np.int64)
    perhaps = np.flatnonzero((numbers >= 19900101) & (numbers <= 20991231) & (numbers == np.trunc(numbers)))
    if len(perhaps):
        days, is_date = _days_of_digits(found[perhaps])
        found[perhaps[is_date]] = days[is_date] * SECONDS_PER_DAY
    return found


def _days_of_digits(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Days since 1970 of numbers such as 20260107, and whether they are such dates: int64 [n], bool [n]."""
    year, month, day = numbers // 10000, numbers // 100 % 100, numbers % 100
    first = ((year - 1970) * 12 + month - 1).view("datetime64[M]")
    begin, end = (months.astype("datetime64[D]").astype(np.int64) for months in (first, first + 1))
    return begin + day - 1, (month >= 1) & (month <= 12) & (day >= 1) & (day <= end - begin)


def _of_moments(column: pa.Array) -> np.ndarray:
    kind = column.type
    if pa.types.is_date(kind):
        return column.cast(pa.date32()).cast(pa.int32()).fill_null(0).to_numpy().astype(np.int64) * SECONDS_PER_DAY
    return column.cast(pa.int64()).fill_null(0).to_numpy() // _PER_SECOND[kind.unit]


def _of_texts(texts: pa.Array) -> Flat:
    regular = _regular(texts)
    if regular is not None:
        return Flat(regular, np.ones(len(texts), bool), np.full(len(texts), FINE, np.uint8))
    encoded = texts.dictionary_encode()
    parsed = [_parsed(text) for text in encoded.dictionary.to_pylist()]
    codes = encoded.indices.to_numpy()
    found = np.array([value or 0 for value in parsed], np.int64)[codes]
    fine = np.array([value is not None for value in parsed], bool)[codes]
    return Flat(found, fine, np.where(fine, FINE, _BAD_TIME).astype(np.uint8))


def _regular(texts: pa.Array) -> np.ndarray | None:
    """Seconds where all texts are ISO 8601 without zone and fraction, or whole numbers."""
    try:
        words = texts.cast(pa.string())
        if len(texts) and pc.all(pc.match_substring_regex(words, r"^[0-9]{1,18}$")).as_py():
            return _of_numbers(pc.cast(words, pa.int64()).to_numpy().astype(np.float64))
        return pc.cast(words, pa.timestamp("s")).cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        return None


def _parsed(text: bytes) -> int | None:
    try:
        return of_text(text.decode())
    except (ValueError, OverflowError):
        return None
