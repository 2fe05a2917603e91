r"""`tf.train.Example` messages of many records at once, by arithmetic on arrays.

The wire format (https://protobuf.dev/programming-guides/encoding): a message is a list of fields, each a tag byte
(number << 3 | type), for type 2 a length, and the bytes. Integers are varints: 7 bits a byte, low ones first, the
high bit set on all bytes but the last.

    Example.features = 1; Features.feature = 1 (map: key = 1, value = 2); Feature.float_list = 2, int64_list = 3;
    Int64List.value = 1 and FloatList.value = 1, both packed

The bytes of one key of all records are one Arrow array of binary values; Arrow joins those of all keys to records.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from preprocess.columns import ragged

# Tags of field 1, 2 and 3, each of type 2 (length-delimited).
_FIRST, _SECOND, _THIRD = 0x0A, 0x12, 0x1A
_FLOAT_LIST, _INT64_LIST = _SECOND, _THIRD
_LONGEST_VARINT = 10


def varint_sizes(values: np.ndarray) -> np.ndarray:
    """Number of bytes of each varint: uint64 [n] -> int64 [n]."""
    sizes = np.ones(len(values), np.int64)
    largest = int(values.max(initial=0))
    for count in range(1, _LONGEST_VARINT):
        if largest >> (7 * count) == 0:
            break
        sizes += values >= np.uint64(1 << (7 * count))
    return sizes


def varints(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Varints of numbers, one after another: uint64 [n], their sizes int64 [n] -> uint8 [bytes]."""
    width = int(sizes.max(initial=1))
    if width == 1:
        return values.astype(np.uint8)
    if width > np.dtype(np.uint64).itemsize:
        return _wide_varints(values, sizes, width)
    word = np.uint32 if width <= np.dtype(np.uint32).itemsize else np.uint64
    continued, used = _WORDS[word]
    digits: np.ndarray = values.astype(word)
    words = continued[sizes]
    for place in range(width):
        words |= (digits & word(0x7F << (7 * place))) << word(place)
    return words.view(np.uint8)[used[sizes].view(bool)]


def _words(word: type[np.unsignedinteger]) -> tuple[np.ndarray, np.ndarray]:
    """By size of a varint in a little-endian word: its continuation bits, and 1 in each of its bytes."""
    sizes = range(np.dtype(word).itemsize + 1)
    continued = [sum(0x80 << (8 * place) for place in range(size - 1)) for size in sizes]
    used = [sum(1 << (8 * place) for place in range(size)) for size in sizes]
    return np.array(continued, word), np.array(used, word)


# A varint of up to eight bytes is built within one word, by few passes over narrow numbers.
_WORDS = {word: _words(word) for word in (np.uint32, np.uint64)}


def _wide_varints(values: np.ndarray, sizes: np.ndarray, width: int) -> np.ndarray:
    """As `varints`, of any width: a column of bytes at a time."""
    digits = np.empty((len(values), width), np.uint8)
    for place in range(width):
        digits[:, place] = ((values >> np.uint64(7 * place)) & np.uint64(0x7F)).astype(np.uint8)
        digits[:, place] |= (sizes > place + 1) * np.uint8(0x80)
    return digits[np.arange(width) < sizes[:, None]]


def int64_entries(key: str, values: np.ndarray, lengths: np.ndarray) -> pa.Array:
    """Entries of Features.feature with an int64 list each: int64 [values], int [records] -> binary [records]."""
    unsigned = values.astype(np.int64, copy=False).view(np.uint64)
    sizes = varint_sizes(unsigned)
    return _entries(key, _INT64_LIST, varints(unsigned, sizes), ragged.sums(sizes, lengths))


def float_entries(key: str, values: np.ndarray, lengths: np.ndarray) -> pa.Array:
    """Entries of Features.feature with a float list each: float32 [values], int [records] -> binary [records]."""
    return _entries(key, _FLOAT_LIST, values.astype("<f4", copy=False).view(np.uint8), lengths.astype(np.int64) * 4)


def _entries(key: str, list_tag: int, payload: np.ndarray, sizes: np.ndarray) -> pa.Array:
    """Wraps payloads, one after another in `payload`, as lists, Features and map entries."""
    name = key.encode()
    list_header, list_size = _header(_FIRST, sizes)
    feature_header, feature_size = _header(list_tag, list_size)
    value_header, value_size = _header(_SECOND, feature_size)
    key_part = bytes([_FIRST]) + varints(*_one_varint(len(name))).tobytes() + name
    entry_header, _ = _header(_FIRST, value_size + len(key_part))
    parts = [entry_header, pa.scalar(key_part, pa.binary()), value_header, feature_header, list_header]
    return pc.binary_join_element_wise(*parts, _binary(payload, sizes), b"")


def _one_varint(value: int) -> tuple[np.ndarray, np.ndarray]:
    values = np.array([value], np.uint64)
    return values, varint_sizes(values)


def _header(tag: int, sizes: np.ndarray) -> tuple[pa.Array, np.ndarray]:
    """Tag and length before messages of these sizes, and the sizes with them: binary [n], int64 [n]."""
    unsigned = sizes.astype(np.uint64)
    length_sizes = varint_sizes(unsigned)
    edges = ragged.starts(length_sizes + 1)
    data = np.full(edges[-1], tag, np.uint8)
    is_length = np.ones(len(data), bool)
    is_length[edges[:-1]] = False
    data[is_length] = varints(unsigned, length_sizes)
    return _binary(data, length_sizes + 1), sizes + length_sizes + 1


def _binary(data: np.ndarray, sizes: np.ndarray) -> pa.Array:
    edges = ragged.starts(sizes)
    if edges[-1] > np.iinfo(np.int32).max:
        raise OverflowError(f"{edges[-1]} bytes of records at once; lower --block_size or raise --shards")
    buffers = [None, pa.py_buffer(edges.astype(np.int32)), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.Array.from_buffers(pa.binary(), len(sizes), buffers)


def examples(entries: Sequence[pa.Array]) -> pa.Array:
    """Serialized Examples of all keys' entries: binary [records] each -> binary [records]."""
    features = pc.binary_join_element_wise(*entries, b"")
    header, _ = _header(_FIRST, sizes(features))
    return pc.binary_join_element_wise(header, features, b"")


def sizes(messages: pa.Array) -> np.ndarray:
    """Bytes of each message: binary [n] -> int64 [n]."""
    return pc.binary_length(messages).to_numpy().astype(np.int64)
