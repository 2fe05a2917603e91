"""Compressed files, read from begin to end. Half a file never passes for a whole one: an error names it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa

# Arrow's name of the compression, by the end of a file's name.
CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
# Other compressions that a log may be met in: refused by name, since to pass over them would lose rows.
UNREADABLE = (".xz", ".lz4", ".zip", ".7z", ".z", ".lzma", ".lzo", ".br", ".snappy", ".deflate", ".tar", ".tgz", ".rar")


_BUFFER = 1 << 20


class DamagedFileError(OSError):
    """A compressed file that breaks off or is no such file; the message names it."""


def codec_of(path: str) -> str:
    """Arrow's name of a file's compression by the end of its name; empty for none."""
    return next((codec for suffix, codec in CODECS.items() if path.lower().endswith(suffix)), "")


@contextlib.contextmanager
def plain(opened: BinaryIO, path: str) -> Iterator[BinaryIO]:
    """The uncompressed bytes of an open file. Raises DamagedFileError while they are read."""
    codec = codec_of(path)
    if not codec:
        yield opened
        return
    if not opened.read(1):
        raise DamagedFileError(f"{path}: holds no byte, so it is not what {codec} writes, even of nothing")
    opened.seek(0)
    try:
        stream = pa.CompressedInputStream(pa.PythonFile(opened, mode="r"), codec)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, codec, error) from error
    with stream:
        yield io.BufferedReader(_Named(stream, path, codec), _BUFFER)


class _Named(io.RawIOBase):
    """Reads a stream; its errors name the file."""

    def __init__(self, stream: pa.CompressedInputStream, path: str, codec: str) -> None:
        self._stream = stream
        self._path = path
        self._codec = codec

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Some of the next bytes; none only at the end."""
        try:
            part = self._stream.read(len(buffer))
        except (OSError, pa.ArrowException) as error:
            raise _damaged(self._path, self._codec, error) from error
        buffer[: len(part)] = part
        return len(part)


def _damaged(path: str, codec: str, error: BaseException) -> DamagedFileError:
    return DamagedFileError(f"{path}: breaks off, or is not what {codec} writes: {error}")
