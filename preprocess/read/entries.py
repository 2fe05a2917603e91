"""Values of a field as texts, to keys and weights: at once where all are plain, else each distinct one."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from features import keys, reject_reasons
from features.raw_values import ValueProblem, parse_cell
from features.schema import ID, NUMBER, STRING, Field
from preprocess.columns import ragged

# So many digits cannot overflow.
ID_PATTERN = "[0-9]{1,18}"
WEIGHT_PATTERN = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_NUMBER_PATTERN = f"-?{WEIGHT_PATTERN}"
FINE = 255
_DEFAULT_WEIGHT = 1.0

# Keys (of an id the id, of a number the bits of its float32), weights and, where not FINE, the defect's reason index.
Parsed = tuple[np.ndarray, np.ndarray, np.ndarray]


def parse(field: Field, texts: pa.Array) -> Parsed:
    """Keys (int64), weights (float32) and reasons (uint8) of values: binary [n], none empty -> three arrays [n]."""
    if field.weighted:
        return _parse_weighted(field, texts)
    if field.type == ID and _all_match(texts, ID_PATTERN):
        return _fine(pc.cast(texts.cast(pa.string()), pa.int64()).to_numpy())
    if field.type == NUMBER and _all_match(texts, _NUMBER_PATTERN):
        return _fine(bits_of(pc.cast(texts.cast(pa.string()), pa.float64()).to_numpy()))
    return _parse_distinct(field, texts)


def bits_of(numbers: np.ndarray) -> np.ndarray:
    """Bits of the float32 of each number: float64 [n] -> int64 [n]. Both zeros have those of 0."""
    return (numbers.astype(np.float32) + np.float32(0)).view(np.uint32).astype(np.int64)


def _fine(found: np.ndarray) -> Parsed:
    return found, np.full(len(found), _DEFAULT_WEIGHT, np.float32), np.full(len(found), FINE, np.uint8)


def _all_match(texts: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(texts, f"^(?:{pattern})$"), min_count=0).as_py())


def _parse_weighted(field: Field, texts: pa.Array) -> Parsed:
    separator = field.weight_separator
    plain = f"{ID_PATTERN}{re.escape(separator)}{WEIGHT_PATTERN}"
    if field.type != ID or len(separator.encode()) > 1 or not len(texts) or not _all_match(texts, plain):
        return _parse_distinct(field, texts)
    lines = ragged.joined(texts, b"\n")
    columns = {"key": pa.int64(), "weight": pa.float64()}
    table = pyarrow.csv.read_csv(
        pa.py_buffer(lines),
        pyarrow.csv.ReadOptions(use_threads=False, block_size=len(lines) + 1, column_names=list(columns)),
        pyarrow.csv.ParseOptions(delimiter=separator, quote_char=False, double_quote=False),
        pyarrow.csv.ConvertOptions(column_types=columns, null_values=[]),
    )
    found, _, reasons = _fine(table.column("key").combine_chunks().to_numpy())
    return found, table.column("weight").to_numpy().astype(np.float32), reasons


def _parse_distinct(field: Field, texts: pa.Array) -> Parsed:
    encoded = texts.dictionary_encode()
    parsed = [_parse_one(field, text.decode()) for text in encoded.dictionary.to_pylist()]
    found = np.array([value for value, _, _ in parsed], np.int64)
    weights = np.array([weight for _, weight, _ in parsed], np.float32)
    reasons = np.array([reason for _, _, reason in parsed], np.uint8)
    codes = encoded.indices.to_numpy()
    return found[codes], weights[codes], reasons[codes]


def _parse_one(field: Field, text: str) -> tuple[int, float, int]:
    try:
        values, weights = parse_cell(field, text)
    except ValueProblem as problem:
        return 0, 0.0, reject_reasons.REASONS.index(problem.reason)
    value = values[0]
    if field.type == STRING:
        key = int(keys.keys_of_strings(field, [str(value)])[0])
    else:
        key = int(value) if field.type == ID else int(bits_of(np.array([value]))[0])
    return key, weights[0] if weights else _DEFAULT_WEIGHT, FINE
