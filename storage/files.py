"""Single files: there whole or not at all, on any filesystem."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

from storage import remote
from storage.paths import is_local, join

# Ends the names of files that are being written.
TEMPORARY_SUFFIX = ".tmp"

_UNFINISHED = re.compile(r"(.+)\.[0-9a-f]{32}" + re.escape(TEMPORARY_SUFFIX))

# Requests to a store at the same time: they wait for its answer, not for a core of this machine.
_REQUESTS = 16

# What stores call the version or time of an object.
_VERSION_KEYS = ("ETag", "etag", "LastModified", "mtime", "updated", "modificationTime", "fileId")


class WriteError(OSError):
    """A file that cannot be written; the message names it."""


def told(error: BaseException) -> str:
    """What an error says, for the terminal: a file and what is wrong with it, without the system's number of that."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)


@contextlib.contextmanager
def reading(path: str) -> Iterator[BinaryIO]:
    """Opens a file for reading bytes; an error names the file."""
    if is_local(path):
        with open(path, "rb") as file:
            yield file
        return
    with remote.errors(path):
        opened = remote.filesystem(path).open(remote.inner(path), "rb")
    with contextlib.closing(opened):
        yield opened


def read(path: str, start: int = 0, end: int | None = None) -> bytes:
    """Bytes of a file, or of the range [start, end) of it."""
    if is_local(path):
        with reading(path) as file:
            file.seek(start)
            return file.read(-1 if end is None else end - start)
    with remote.errors(path):
        whole = not start and end is None
        found = remote.filesystem(path).cat_file(remote.inner(path), start=None if whole else start, end=end)
    return bytes(found)


def write(path: str, parts: Iterable[Any]) -> int:
    """Writes buffers one after another; the file appears under its name when all are written, or never.

    A task that a runner repeats, or runs twice at once, so leaves one whole file.

    Returns:
        The number of bytes.
    """
    size = 0
    with writing(path) as file:
        for part in parts:
            size += memoryview(part).nbytes
            with _naming(path):
                file.write(part)
    return size


@contextlib.contextmanager
def writing(path: str) -> Iterator[BinaryIO]:
    """Opens a file that appears under its name when the block ends well; if it does not, nothing is left of it.

    Raises:
        WriteError: it cannot be written; the message names it.
    """
    direct = not is_local(path) and not remote.renames_folders(path)
    # An object of a store appears when it is whole: no other name is needed.
    temporary = path if direct else f"{path}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
    with _naming(path):
        file = _create(temporary)
    try:
        yield file
        with _naming(path):
            file.close()
            if not direct:
                _rename(temporary, path)
    except BaseException as error:
        _give_up(file, temporary, direct)
        # A full disk, say, met by a write in the block: such errors name no file.
        if isinstance(error, OSError) and not isinstance(error, WriteError) and error.errno and error.filename is None:
            raise WriteError(f"writing {path}: {error.strerror}") from error
        raise


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Adds the path to errors: that of a full disk does not say which file was written."""
    try:
        yield
    except remote.RemoteError as error:
        raise WriteError(str(error)) from error
    except OSError as error:
        raise WriteError(f"writing {path}: {error.strerror or error}") from error


def unfinished_of(name: str) -> str:
    """The name under which a file would have appeared whose writing was cut short; empty for other files."""
    found = _UNFINISHED.fullmatch(name)
    return found[1] if found else ""


def _create(path: str) -> BinaryIO:
    if is_local(path):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        return open(path, "wb")
    with remote.errors(path):
        return remote.filesystem(path).open(remote.inner(path), "wb")


def _give_up(file: Any, temporary: str, direct: bool) -> None:
    """Leaves nothing of a file that was not written to its end."""
    with contextlib.suppress(OSError, ValueError):
        if is_local(temporary):
            file.close()
        else:
            file.discard()
            file.closed = True
    if not direct:
        with contextlib.suppress(OSError):
            remove(temporary)


def _rename(source: str, target: str) -> None:
    if is_local(source):
        os.replace(source, target)
        return
    with remote.errors(target):
        remote.filesystem(source).mv(remote.inner(source), remote.inner(target))


def create_exclusively(path: str, data: bytes) -> bool:
    """Writes a file unless it is there already; of several callers at once one succeeds.

    Returns:
        Whether this call wrote it.
    """
    temporary = f"{path}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
    if is_local(path):
        write(temporary, [data])
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        finally:
            os.remove(temporary)
        return True
    store = remote.filesystem(path)
    if not remote.renames_folders(path):
        with remote.errors(path):
            try:
                store.pipe_file(remote.inner(path), data, mode="create")
            except FileExistsError:
                return False
        return True
    write(temporary, [data])
    with remote.errors(path):
        done = bool(store.rename_new(remote.inner(temporary), remote.inner(path)))
    if not done:
        remove(temporary)
    return done


def make_folder(path: str) -> None:
    """Makes a folder where the filesystem has such things."""
    if is_local(path):
        os.makedirs(path, exist_ok=True)
    elif remote.renames_folders(path):
        with remote.errors(path):
            remote.filesystem(path).makedirs(remote.inner(path), exist_ok=True)


def exists(path: str) -> bool:
    """Whether a file or folder is there."""
    if is_local(path):
        return os.path.exists(path)
    with remote.errors(path):
        return bool(remote.filesystem(path).exists(remote.inner(path)))


def list_files(pattern: str) -> list[tuple[str, int]]:
    """Paths of the files that fit a glob (`*` stays within a folder) and their sizes, in order of path."""
    if is_local(pattern):
        return sorted(sizes_of(path for path in glob.glob(pattern) if os.path.isfile(path)))
    with remote.errors(pattern):
        found = remote.filesystem(pattern).glob(remote.inner(pattern), detail=True)
    return _files_of(pattern, found)


def walk(folder: str) -> list[tuple[str, int]]:
    """Paths of all files below a folder and their sizes, in order of path."""
    if is_local(folder):
        paths = [join(place, name) for place, _, names in os.walk(folder) for name in names]
        return sorted(sizes_of(paths, follow_links=False))
    with remote.errors(folder):
        return _files_of(folder, remote.filesystem(folder).find(remote.inner(folder), detail=True))


def sizes_of(paths: Iterable[str], follow_links: bool = True) -> Iterator[tuple[str, int]]:
    """Paths of this machine with their sizes, less those that went since they were listed: others may work there."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            yield path, os.stat(path, follow_symlinks=follow_links).st_size


def _files_of(like: str, found: dict[str, dict[str, Any]]) -> list[tuple[str, int]]:
    """Paths with their scheme, as they were asked for."""
    begin = like[: like.index("://") + 3]
    if remote.renames_folders(like):
        begin = like[: len(like) - len(remote.inner(like))] + "/"
    kept = {path: info for path, info in found.items() if info["type"] == "file"}
    return sorted((begin + path.lstrip("/"), int(info["size"])) for path, info in kept.items())


def names_in(folder: str) -> list[str]:
    """Names of the files and folders directly in a folder, sorted; none where it is absent."""
    if is_local(folder):
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    with remote.errors(folder):
        try:
            found = remote.filesystem(folder).ls(remote.inner(folder), detail=False)
        except FileNotFoundError:
            return []
    # A store may hold an empty object in the folder's own name, made by its console.
    own = remote.inner(folder).split("://")[-1].rstrip("/")
    return sorted({path.rstrip("/").rsplit("/", 1)[-1] for path in found if path.rstrip("/") != own})


def remove(path: str) -> None:
    """Removes a file or folder, if it is there."""
    if not is_local(path):
        with remote.errors(path), contextlib.suppress(FileNotFoundError):
            remote.filesystem(path).rm(remote.inner(path), recursive=True)
    elif os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)


def move(source: str, target: str) -> None:
    """Moves a file or folder to a place that is free; in one step where the filesystem can.

    Also from this machine to a store, or back.
    """
    if is_local(source) and is_local(target):
        os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
        os.rename(source, target)
        return
    if not is_local(source) and not is_local(target) and remote.renames_folders(source):
        make_folder(target.rsplit("/", 1)[0])
        _rename(source, target)
        return
    base = len(source.rstrip("/"))
    found = [path for path, _ in walk(source)]
    copy_many(found, [target.rstrip("/") + path[base:] for path in found])
    remove(source)


def copy_many(sources: Sequence[str], targets: Sequence[str], *, at_once: int = _REQUESTS) -> None:
    """Copies files, several at a time; within one store without passing through this machine."""
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(_copy, sources, targets))


def remove_many(paths: Sequence[str]) -> None:
    """Removes files, several at a time."""
    with ThreadPoolExecutor(_REQUESTS) as pool:
        list(pool.map(remove, paths))


def _copy(source: str, target: str) -> None:
    one_store = not is_local(source) and not is_local(target) and remote.scheme_of(source) == remote.scheme_of(target)
    if one_store and not remote.renames_folders(source):
        with remote.errors(target):
            remote.filesystem(source).cp_file(remote.inner(source), remote.inner(target))
        return
    with reading(source) as file:
        write(target, iter(lambda: file.read(1 << 22), b""))


def size(path: str) -> int:
    """Bytes of a file."""
    if is_local(path):
        return os.path.getsize(path)
    with remote.errors(path):
        return int(remote.filesystem(path).size(remote.inner(path)))


def version(path: str) -> str:
    """A text that changes when the file is written again, as far as its filesystem tells."""
    if is_local(path):
        status = os.stat(path)
        return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"
    with remote.errors(path):
        info = remote.filesystem(path).info(remote.inner(path))
    return " ".join(str(info.get(key)) for key in ("size", *_VERSION_KEYS))


@contextlib.contextmanager
def local_folder() -> Iterator[str]:
    """A temporary folder on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        yield folder
