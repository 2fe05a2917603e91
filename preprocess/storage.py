"""Files of a job, local or remote (s3://, gs://, hdfs:// by Beam's FileSystems), there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

# Ends the names of files that are being written.
TEMPORARY_SUFFIX = ".tmp"


def is_local(path: str) -> bool:
    """Whether the path needs no Beam filesystem."""
    return "://" not in path


def join(folder: str, *parts: str) -> str:
    """Path below a folder, on any filesystem."""
    return "/".join([folder.rstrip("/"), *parts])


@contextlib.contextmanager
def reading(path: str, compression: str = CompressionTypes.UNCOMPRESSED) -> Iterator[BinaryIO]:
    """Opens a file for reading bytes; an error names the file."""
    local = is_local(path) and compression == CompressionTypes.UNCOMPRESSED
    file = open(path, "rb") if local else FileSystems.open(path, compression_type=compression)  # noqa: SIM115
    with contextlib.closing(file):
        yield file


def read(path: str, start: int = 0, end: int | None = None) -> bytes:
    """Bytes of a file, or of the range [start, end) of it."""
    with reading(path) as file:
        if start:
            file.seek(start)
        return file.read(-1 if end is None else end - start)


def write(path: str, parts: Iterable[Any]) -> int:
    """Writes buffers one after another under a temporary name and renames it. Returns the number of bytes.

    A task that a runner repeats, or runs twice at once, so leaves one whole file.
    """
    temporary = f"{path}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
    size = 0
    with _naming(path):
        file = _create(temporary)
    try:
        for part in parts:
            size += memoryview(part).nbytes
            with _naming(path):
                file.write(part)
    finally:
        with _naming(path):
            file.close()
    if is_local(path):
        os.replace(temporary, path)
    else:
        FileSystems.rename([temporary], [path])
    return size


class WriteError(OSError):
    """A file that cannot be written; the message names it."""


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Adds the path to errors: that of a full disk does not say which file was written."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"writing {path}: {error}") from error


def _create(path: str) -> BinaryIO:
    if is_local(path):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        return open(path, "wb")
    return FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)


def save_object(path: str, value: object) -> str:
    """Writes what later steps of the same job load. Returns the path."""
    write(path, [pickle.dumps(value, protocol=5)])
    return path


def load_object(path: str) -> Any:
    """What `save_object` wrote."""
    return pickle.loads(read(path))


def exists(path: str) -> bool:
    """Whether a file or folder is there."""
    if is_local(path):
        return os.path.exists(path)
    return FileSystems.exists(path) or bool(list_files(join(path, "**")))


def list_files(pattern: str) -> list[tuple[str, int]]:
    """Paths that match a glob and their sizes, in order of path."""
    matches = FileSystems.match([pattern])[0].metadata_list
    return sorted((match.path, match.size_in_bytes) for match in matches)


def remove(path: str) -> None:
    """Removes a file or folder, if it is there."""
    if not is_local(path):
        found = [name for name, _ in list_files(join(path, "**"))]
        FileSystems.delete(found + ([path] if FileSystems.exists(path) else []))
    elif os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)


def move(source: str, target: str) -> None:
    """Moves a folder; on a local filesystem in one step."""
    if is_local(source) and is_local(target):
        os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
        os.rename(source, target)
        return
    base = len(source.rstrip("/"))
    for name, _ in list_files(join(source, "**")):
        _copy(name, target.rstrip("/") + name[base:])
    remove(source)


def _copy(source: str, target: str) -> None:
    with reading(source) as file:
        write(target, iter(lambda: file.read(1 << 22), b""))


def size(path: str) -> int:
    """Bytes of a file."""
    return os.path.getsize(path) if is_local(path) else list_files(path)[0][1]


@contextlib.contextmanager
def local_folder() -> Iterator[str]:
    """A temporary folder on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        yield folder
