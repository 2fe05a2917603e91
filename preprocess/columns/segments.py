"""Files of named arrays, cut into segments, each of which is read alone by its byte range."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import numpy as np

import storage

Arrays = dict[str, np.ndarray]
Buffer = memoryview | bytes

_ALIGNMENT = 8


def write(path: str, segments: Iterable[Arrays]) -> np.ndarray:
    """Writes segments one after another. Returns their edges in the file, int64 [segments + 1].

    Segments without entries take no bytes.
    """
    edges = [0]
    storage.write(path, _buffers(segments, edges))
    return np.array(edges, np.int64)


def read(path: str, start: int, end: int) -> Arrays:
    """Arrays of the segment in the byte range [start, end)."""
    return parse(storage.read(path, int(start), int(end)))


def parse(data: bytes) -> Arrays:
    """Arrays of a segment's bytes."""
    return _parse_at(data, 0)[0]


def parse_all(data: bytes) -> Iterator[Arrays]:
    """Arrays of each of several segments, one after another."""
    offset = 0
    while offset < len(data):
        arrays, offset = _parse_at(data, offset)
        yield arrays


def _parse_at(data: bytes, start: int) -> tuple[Arrays, int]:
    """Arrays of the segment that begins at a place, and where it ends."""
    begin = start + _ALIGNMENT
    offset = begin + int.from_bytes(data[start:begin], "little")
    arrays: Arrays = {}
    for name, dtype, count in json.loads(data[begin:offset]):
        arrays[name] = np.frombuffer(data, dtype, count, offset)
        offset += _padded(arrays[name].nbytes)
    return arrays, offset


def _buffers(segments: Iterable[Arrays], edges: list[int]) -> Iterator[Buffer]:
    for arrays in segments:
        size = 0
        if any(len(array) for array in arrays.values()):
            for buffer in encode(arrays):
                size += memoryview(buffer).nbytes
                yield buffer
        edges.append(edges[-1] + size)


def encode(arrays: Arrays) -> Iterator[Buffer]:
    """The bytes of a segment."""
    header = json.dumps([[name, array.dtype.str, len(array)] for name, array in arrays.items()]).encode()
    header += b" " * (_padded(len(header)) - len(header))
    yield len(header).to_bytes(_ALIGNMENT, "little") + header
    for array in arrays.values():
        if array.nbytes:
            yield np.ascontiguousarray(array).view(np.uint8).data
            yield bytes(_padded(array.nbytes) - array.nbytes)


def _padded(size: int) -> int:
    return -size % _ALIGNMENT + size
