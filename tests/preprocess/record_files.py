"""Reads record files frame by frame, with both checksums, into plain dictionaries."""

import gzip
import struct

import google_crc32c
from tensorflow.core.example import example_pb2


def read_frames(path):
    """Serialized records of a file."""
    with open(path, "rb") as file:
        data = file.read()
    if path.endswith(".gz"):
        data = gzip.decompress(data)
    place, found = 0, []
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        record = data[place + 12 : place + 12 + length]
        assert struct.unpack_from("<I", data, place + 8)[0] == masked(data[place : place + 8])
        assert struct.unpack_from("<I", data, place + 12 + length)[0] == masked(record)
        found.append(record)
        place += 16 + length
    return found


def masked(data):
    checksum = google_crc32c.value(data)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) % (1 << 32)


def decode(record):
    """Values of an Example by key."""
    features = example_pb2.Example.FromString(record).features.feature
    return {key: list(getattr(feature, feature.WhichOneof("kind")).value) for key, feature in features.items()}


def read_records(path):
    """Records of a file as dictionaries of lists."""
    return [decode(record) for record in read_frames(path)]
