"""A stack of byte strings that goes to a file of this machine once it is large: what a task has in transit."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Iterator

from preprocess.columns import segments
from preprocess.columns.segments import Arrays, Buffer

_BYTES_IN_MEMORY = 64 << 20


class Spool:
    """Byte strings by their place. The file has no name and is gone with the process."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_BYTES_IN_MEMORY)  # noqa: SIM115 closed by `close`
        self._end = 0

    def add(self, buffers: Iterable[Buffer]) -> tuple[int, int]:
        """Appends buffers as one string; returns its range."""
        begin = self._end
        self._file.seek(begin)
        for buffer in buffers:
            self._end += memoryview(buffer).nbytes
            self._file.write(buffer)
        return begin, self._end

    def read(self, begin: int, end: int) -> bytes:
        """The string of a range."""
        self._file.seek(begin)
        return self._file.read(end - begin)

    def close(self) -> None:
        """Frees memory and file."""
        self._file.close()


@dataclasses.dataclass(frozen=True)
class SpooledPart:
    """A part in a spool."""

    spool: Spool
    begin: int
    end: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.begin

    def read(self) -> Iterator[Arrays]:
        """The arrays sent."""
        return segments.parse_all(self.spool.read(self.begin, self.end))
