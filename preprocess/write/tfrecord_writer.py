"""TFRecord files: framing with checksums, compression.

A frame is the length (uint64), a masked CRC-32C of the length, the record, a masked CRC-32C of the record; all
little-endian (tensorflow/core/lib/io/record_writer.h).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import google_crc32c
import numpy as np
import pyarrow as pa
from zlib_ng import zlib_ng

from preprocess.options import GZIP

# By measurement on a simulated log at full width: see docs/record-format.md. zlib-ng makes files of zlib's size in
# three fifths of its time.
_GZIP_LEVEL = 4
# zlib's code for a gzip header (16) and the largest window; the header's time is 0, so equal records give equal files.
_GZIP_WINDOW = 16 + zlib_ng.MAX_WBITS


def frames(batch: pa.Array) -> bytes:
    """Framed records: binary [records] -> bytes."""
    edges = np.frombuffer(batch.buffers()[1], np.int32, len(batch) + 1, 4 * batch.offset).tolist()
    data = batch.buffers()[2].to_pybytes()
    checksum = google_crc32c.value
    parts: list[bytes] = []
    for begin, end in itertools.pairwise(edges):
        record = data[begin:end]
        length = (end - begin).to_bytes(8, "little")
        parts += (length, _masked(checksum(length)), record, _masked(checksum(record)))
    return b"".join(parts)


def _masked(checksum: int) -> bytes:
    return ((((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def compressed(parts: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """The bytes of a file, compressed or not."""
    if compression != GZIP:
        yield from parts
        return
    stream = zlib_ng.compressobj(_GZIP_LEVEL, zlib_ng.DEFLATED, _GZIP_WINDOW)
    for part in parts:
        yield stream.compress(part)
    yield stream.flush()
