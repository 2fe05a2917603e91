"""One command at a time in a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from storage import files, process
from storage.paths import is_local, join
from storage.process import Process

LOCK_FILE = "_lock.json"


class LockedError(ValueError):
    """A folder that another run works in; the message names that run."""


@contextlib.contextmanager
def held(folder: str, command: str, flag: str) -> Iterator[None]:
    """Holds the lock of a folder for as long as the block runs; makes the folder where it is absent.

    On a local filesystem the lock ends with the process, however that ends. On a store it is a file, which a later run
    on the same machine removes when it finds the process dead.

    Args:
        folder: local or remote.
        command: that holds it, such as `python -m preprocess`.
        flag: that names the folder, for the message.

    Raises:
        LockedError: another run holds it.
    """
    me = process.this(command)
    path = join(folder, LOCK_FILE)
    files.make_folder(folder)
    with _local(path, me, flag) if is_local(path) else _remote(path, me, flag):
        yield


@contextlib.contextmanager
def _local(path: str, me: Process, flag: str) -> Iterator[None]:
    descriptor = _open_locked(path, flag)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, me.to_json(), 0)
        yield
    finally:
        # Before it is unlocked: who opened it meanwhile sees that its name is gone and opens the next one.
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
        os.close(descriptor)


def _open_locked(path: str, flag: str) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = process.from_json(os.pread(descriptor, 1 << 16, 0))
            os.close(descriptor)
            raise _refusal(path, flag, holder) from None
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)


def _is_at(descriptor: int, path: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    return False


@contextlib.contextmanager
def _remote(path: str, me: Process, flag: str) -> Iterator[None]:
    while not files.create_exclusively(path, me.to_json()):
        holder = _holder(path)
        if holder is None or not holder.surely_dead():
            raise _refusal(path, flag, holder)
        files.remove(path)
    # A store that knows no conditional writes let two through: the later one has the name.
    if (holder := _holder(path)) != me:
        raise _refusal(path, flag, holder)
    try:
        yield
    finally:
        if _holder(path) == me:
            files.remove(path)


def _holder(path: str) -> Process | None:
    try:
        return process.from_json(files.read(path))
    except FileNotFoundError:
        return None


def _refusal(path: str, flag: str, holder: Process | None) -> LockedError:
    folder = path.rsplit("/", 1)[0]
    return LockedError(
        f"--{flag}={folder}: in use by {holder or 'another run'}; wait for it or name another folder. If it is surely "
        f"dead, delete {path}"
    )
