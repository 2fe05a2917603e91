"""Rows of a checkpoint's tensors block by block: TensorFlow's own reader gives a tensor only whole.

A checkpoint of format V2 is an index, a sorted table in LevelDB's file format, from names to `BundleEntryProto`, and
data files in which each tensor lies as its plain bytes (tensorflow/core/util/tensor_bundle). Blocks of the index and
tensors have checksums, as TensorFlow's reader looks at them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import google_crc32c
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tensorflow.core.protobuf import tensor_bundle_pb2

import storage
from input_fn import tfrecord

_FOOTER = 48
_MAGIC = 0xDB4775248B80FB57
_TRAILER = 5
_BLOCK_BYTES = 1 << 22


class CheckpointError(ValueError):
    """A checkpoint that cannot be read this way."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """A tensor [rows, ...] on disk.

    Attributes:
        path: of the data file.
        offset: of its first byte there.
        dtype: of its numbers.
        shape: of the tensor.
        checksum: of its bytes, masked.
    """

    path: str
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]
    checksum: int

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """First row and rows of each block, in order.

        Raises:
            CheckpointError: the file ends too early or, behind the last block, holds other bytes than were written.
        """
        width = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        step, checksum = max(1, _BLOCK_BYTES // max(width, 1)), 0
        with storage.reading(self.path) as file:
            file.seek(self.offset)
            for start in range(0, self.shape[0], step):
                count = min(step, self.shape[0] - start)
                data = file.read(count * width)
                if len(data) != count * width:
                    raise CheckpointError(f"{self.path}: ends within a tensor; the checkpoint is damaged")
                checksum = google_crc32c.extend(checksum, data)
                yield start, np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])
        if tfrecord.masked(checksum) != self.checksum:
            raise CheckpointError(f"{self.path}: other bytes than were written; the checkpoint is damaged")

    def whole(self) -> np.ndarray:
        """All of it."""
        flat = dataclasses.replace(self, shape=(int(np.prod(self.shape, dtype=np.int64)),))
        parts = [np.empty(0, self.dtype), *(block for _, block in flat.blocks())]
        return np.concatenate(parts).reshape(self.shape)


def tensors(checkpoint: str) -> dict[str, Rows]:
    """Every tensor of a checkpoint by name.

    Args:
        checkpoint: prefix, as `tf.train.latest_checkpoint` gives it.

    Raises:
        CheckpointError: damaged, or of a kind that this does not read (tensors in slices, big-endian).
    """
    path = f"{checkpoint}.index"
    try:
        return _tensors(path, checkpoint)
    except (IndexError, DecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: no index of a checkpoint of format V2, or a damaged one") from error


def _tensors(path: str, checkpoint: str) -> dict[str, Rows]:
    entries = dict(_entries(path, storage.read(path)))
    header = tensor_bundle_pb2.BundleHeaderProto.FromString(entries.pop(b"", b""))
    if header.endianness != tensor_bundle_pb2.BundleHeaderProto.LITTLE:
        raise CheckpointError(f"{path}: big-endian")
    found = {}
    for name, value in entries.items():
        entry = tensor_bundle_pb2.BundleEntryProto.FromString(value)
        dtype = tf.as_dtype(entry.dtype)
        if entry.slices:
            raise CheckpointError(f"{path}: {name.decode()} is stored in slices")
        if dtype.is_numpy_compatible and dtype not in (tf.string, tf.variant):
            data = f"{checkpoint}.data-{entry.shard_id:05d}-of-{header.num_shards:05d}"
            shape = tuple(each.size for each in entry.shape.dim)
            found[name.decode()] = Rows(data, entry.offset, np.dtype(dtype.as_numpy_dtype), shape, entry.crc32c)
    return found


def _entries(path: str, table: bytes) -> Iterator[tuple[bytes, bytes]]:
    if len(table) < _FOOTER or int.from_bytes(table[-8:], "little") != _MAGIC:
        raise CheckpointError(f"{path}: no index of a checkpoint of format V2, or a damaged one")
    at = len(table) - _FOOTER
    _, at = _handle(table, at)
    index, _ = _handle(table, at)
    for _, value in _block(path, table, index):
        handle, _ = _handle(value, 0)
        yield from _block(path, table, handle)


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Offset and size of a block, and where they end."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _block(path: str, table: bytes, handle: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block: a key gives how much of the one before it it begins with."""
    start, size = handle
    written = int.from_bytes(table[start + size + 1 : start + size + _TRAILER], "little")
    if tfrecord.masked(google_crc32c.value(table[start : start + size + 1])) != written:
        raise CheckpointError(f"{path}: a damaged block")
    if table[start + size] != 0:
        raise CheckpointError(f"{path}: a compressed block")
    block = table[start : start + size]
    end = size - 4 - 4 * int.from_bytes(block[-4:], "little")
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        rest, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + rest]
        yield key, block[at + rest : at + rest + length]
        at += rest + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
