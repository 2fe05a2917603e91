"""Rows of a checkpoint's tensors block by block: TensorFlow's own reader gives a tensor only whole.

A checkpoint of format V2 is an index, a sorted table in LevelDB's file format, from names to `BundleEntryProto`, and
data files in which each tensor lies as its plain bytes (tensorflow/core/util/tensor_bundle).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import tensor_bundle_pb2

import storage

_FOOTER = 48
_MAGIC = 0xDB4775248B80FB57
_TRAILER = 5
_BLOCK_BYTES = 1 << 24


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
    """

    path: str
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """First row and rows of each block, in order."""
        width = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        step = max(1, _BLOCK_BYTES // max(width, 1))
        with storage.reading(self.path) as file:
            file.seek(self.offset)
            for start in range(0, self.shape[0], step):
                count = min(step, self.shape[0] - start)
                data = file.read(count * width)
                if len(data) != count * width:
                    raise CheckpointError(f"{self.path}: ends within a tensor; the checkpoint is damaged")
                yield start, np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])

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
            found[name.decode()] = Rows(data, entry.offset, np.dtype(dtype.as_numpy_dtype), shape)
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
    if table[start + size] != 0 or start + size + _TRAILER > len(table):
        raise CheckpointError(f"{path}: a compressed block, or a damaged one")
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
