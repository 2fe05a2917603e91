"""Bytes of text files in blocks that begin and end at line ends, and where the lines are in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa

import storage
from features.raw_log import compression
from features.raw_log.batches import LONGEST_ROW
from features.raw_log.log_files import InputError

_NEWLINE = 0x0A
# The rest of a line that begins in a block is read in steps of this size, and then of twice what was read.
_TAIL = 1 << 16


@dataclasses.dataclass(frozen=True)
class Lines:
    """Whole lines of a file.

    Attributes:
        data: the bytes; the last line ends with a newline, also where the file's last line does not.
        edges: place of each line's first byte in `data`, and the end: int64 [lines + 1].
        offset: place of `data` in the (uncompressed) file.
    """

    data: bytes
    edges: np.ndarray
    offset: int

    def __len__(self) -> int:
        return len(self.edges) - 1

    def texts(self) -> pa.Array:
        """The lines with their line ends, large_binary [lines], without a copy."""
        buffers = [None, pa.py_buffer(self.edges), pa.py_buffer(self.data)]
        return pa.Array.from_buffers(pa.large_binary(), len(self), buffers)

    def line(self, index: int) -> bytes:
        """One line with its line end."""
        return self.data[self.edges[index] : self.edges[index + 1]]

    def offsets(self) -> np.ndarray:
        """Place of each line in the file: int64 [lines]."""
        return self.edges[:-1] + self.offset

    def select(self, chosen: np.ndarray) -> bytes:
        """The bytes of the chosen lines: bool [lines] -> bytes."""
        if chosen.all():
            return self.data
        sizes = np.diff(self.edges)
        return np.frombuffer(self.data, np.uint8)[np.repeat(chosen, sizes)].tobytes()


def split(data: bytes, offset: int) -> Lines:
    """The lines of bytes that begin at a line's start."""
    if data and data[-1] != _NEWLINE:
        data += b"\n"
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE) + 1
    return Lines(data, np.concatenate([np.zeros(1, np.int64), ends]), offset)


def read_block(path: str, start: int, end: int) -> Lines:
    """The lines that begin in the byte range [start, end) of an uncompressed file."""
    with storage.reading(path) as file:
        if start == 0:
            before, skipped = 0, 0
            data = file.read(end)
        else:
            # A line begins at `start` if the byte before is a newline.
            before = start - 1
            file.seek(before)
            data = file.read(end - before)
            skipped = data.find(b"\n") + 1
            if not skipped:
                return split(b"", start)
        return split(data[skipped:] + _rest_of_line(file, data, path, end), before + skipped)


def _rest_of_line(file: BinaryIO, data: bytes, path: str, place: int) -> bytes:
    if not data or data[-1] == _NEWLINE:
        return b""
    parts: list[bytes] = []
    size = 0
    while part := file.read(max(_TAIL, size)):
        found = part.find(b"\n")
        if found >= 0:
            return b"".join([*parts, part[: found + 1]])
        parts.append(part)
        size += len(part)
        _check_length(size, path, place)
    return b"".join(parts)


def _check_length(size: int, path: str, place: int) -> None:
    if size > LONGEST_ROW:
        raise InputError(
            f"{path}: the line at byte {place} is longer than {LONGEST_ROW} bytes; has the file line ends?"
        )


def stream(path: str, block_size: int) -> Iterator[Lines]:
    """The lines of a compressed file, which has no random access, in blocks of about `block_size` bytes."""
    with storage.reading(path) as opened, compression.plain(opened, path) as file:
        rest, offset = b"", 0
        while part := file.read(max(block_size, len(rest))):
            data = rest + part
            cut = data.rfind(b"\n") + 1
            rest = data[cut:]
            if cut:
                yield split(data[:cut], offset)
                offset += cut
            _check_length(len(rest), path, offset)
        if rest:
            yield split(rest, offset)
