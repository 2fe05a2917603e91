"""Reads TFRecord files outside of any graph, byte by byte checked: for samples, and to find what is damaged.

A record is its length (8 bytes, little-endian), a checksum of these, the data, and a checksum of the data (4 bytes
each); a checksum is CRC-32C, rotated by 15 bits and offset by a constant.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

import google_crc32c
import tensorflow as tf

from features import names

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_SIZE = struct.Struct("<I")
SIZE_MODULUS = 1 << 32
FRAME_SIZE = _HEADER.size + _FOOTER.size
_MASK_DELTA = 0xA282EAD8


class RecordError(ValueError):
    """Records that cannot be used: the message names the file, what is wrong and the remedy."""


def is_compressed(path: str) -> bool:
    """Whether the name says that the records are gzipped."""
    return path.endswith(names.GZIP_SUFFIX)


def uncompressed_size(path: str) -> int:
    """Bytes of a file's records and their frames, of a gzipped one modulo 2^32 as its last four bytes tell.

    A gzip file that was cut short ends with other bytes, so that whoever reads it to its end can tell.
    """
    length = int(tf.io.gfile.stat(path).length)
    if not is_compressed(path):
        return length
    with tf.io.gfile.GFile(path, "rb") as file:
        file.seek(max(0, length - _SIZE.size))
        return int(_SIZE.unpack(file.read(_SIZE.size).rjust(_SIZE.size, b"\0"))[0])


def read(path: str) -> Iterator[bytes]:
    """The serialized records of a file, local or remote.

    Raises:
        RecordError: the file ends within a record or (gzipped) without its end mark, or a checksum is wrong.
    """
    with tf.io.gfile.GFile(path, "rb") as raw:
        file = gzip.GzipFile(fileobj=raw) if is_compressed(path) else raw
        number = 0
        try:
            while header := file.read(_HEADER.size):
                yield _record(cast(BinaryIO, file), header)
                number += 1
        except (EOFError, OSError, zlib.error) as error:
            raise RecordError(
                f"{path}: record {number} (from 0): {error}; copy or preprocess the file again"
            ) from error


def _record(file: BinaryIO, header: bytes) -> bytes:
    if len(header) < _HEADER.size:
        raise EOFError("the file ends within a record")
    length, checksum = _HEADER.unpack(header)
    _check(header[:8], checksum)
    data, footer = file.read(length), file.read(_FOOTER.size)
    if len(data) + len(footer) < length + _FOOTER.size:
        raise EOFError("the file ends within a record")
    _check(data, *_FOOTER.unpack(footer))
    return data


def _check(data: bytes, expected: int) -> None:
    if masked(google_crc32c.value(data)) != expected:
        raise OSError("the checksum is wrong: bytes were changed")


def masked(checksum: int) -> int:
    """A CRC-32C as TensorFlow's files hold it, checkpoints too."""
    return ((checksum >> 15 | checksum << 17) + _MASK_DELTA) & 0xFFFFFFFF
