"""Copies on this machine of remote folders, for libraries that read and write local files alone.

What is read is fetched; what is written is copied back: a folder that is worked in while it changes, so that the store
holds what a killed run last finished.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator

from storage import files, lock
from storage.paths import join

# Names of the files that make others count: they are copied back after all others.
_LAST = ("checkpoint", "saved_model.pb")
# Marks of files and folders that a library is still writing.
_UNFINISHED = ("tempstate", "temp-", ".tmp")
_SECONDS = 2.0
# Files of the top of a folder that only gets new folders are fetched up to this size: marks and settings.
_SMALL = 1 << 20

# A file's time and size: whether it has changed since it was copied.
_Stamp = tuple[int, int]


class Stage:
    """The local copies of one run.

    Args:
        root: folder of the copies.
        say: is told of a store that cannot be written to for now.
    """

    def __init__(self, root: str, say: Callable[[str], None]) -> None:
        self._root = root
        self._say = say
        self._mirrors: list[_Mirror] = []

    def read(self, folder: str, leave_out: tuple[str, ...] = ()) -> str:
        """A copy of a folder to read; without the parts of the names `leave_out`."""
        local = self._place(folder)
        base = len(folder.rstrip("/")) + 1
        found = [path for path, _ in files.walk(folder)]
        wanted = [path for path in found if path[base:].split("/")[0] not in leave_out]
        files.copy_many(wanted, [join(local, path[base:]) for path in wanted])
        return local

    def work_in(self, folder: str) -> str:
        """A copy of a folder to read and write, copied back as it changes."""
        local = self.read(folder, (lock.LOCK_FILE,))
        self._mirror(local, folder)
        return local

    def add_to(self, folder: str) -> str:
        """A folder to put new folders into; those that are there already are there as names only."""
        local = self._place(folder)
        sizes = {path[len(folder.rstrip("/")) + 1 :]: size for path, size in files.walk(folder)}
        small = [name for name, size in sizes.items() if "/" not in name and size <= _SMALL]
        files.copy_many([join(folder, name) for name in small], [join(local, name) for name in small])
        for name in {path.split("/")[0] for path in sizes if "/" in path}:
            os.makedirs(join(local, name), exist_ok=True)
        self._mirror(local, folder)
        return local

    def write(self, path: str) -> str:
        """A file to write; one that is there already is fetched."""
        local = self._place(path.rsplit("/", 1)[0]) + "/" + path.rsplit("/", 1)[1]
        if files.exists(path):
            files.copy_many([path], [local])
        self._mirror(local, path)
        return local

    def finish(self) -> None:
        """Copies back what is not yet. Raises OSError where that fails; the copies then stay."""
        for mirror in self._mirrors:
            mirror.stop()

    def _place(self, path: str) -> str:
        """Where the copy lies: the path can still be told by it."""
        scheme, rest = path.split("://", 1)
        local = os.path.join(self._root, scheme, *rest.strip("/").split("/"))
        os.makedirs(local, exist_ok=True)
        return local

    def _mirror(self, local: str, remote: str) -> None:
        self._mirrors.append(_Mirror(local, remote, self._say))


@contextlib.contextmanager
def opened(say: Callable[[str], None]) -> Iterator[Stage]:
    """A stage for as long as the block runs; what was written is on the store when it ends.

    Raises:
        OSError: it could not be copied; the message names the copy, which stays.
    """
    root = tempfile.mkdtemp(prefix="entire-space-")
    stage = Stage(root, say)
    try:
        yield stage
    finally:
        try:
            stage.finish()
        except OSError as error:
            raise OSError(f"{error}; what was not copied stays in {root}") from error
        shutil.rmtree(root, ignore_errors=True)


class _Mirror:
    """Copies a local file or folder to a store whenever it has changed."""

    def __init__(self, local: str, remote: str, say: Callable[[str], None]) -> None:
        self._local, self._remote, self._say = local, remote, say
        self._copied = self._stamps()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the copying, the last changes included."""
        self._done.set()
        self._thread.join()
        self._copy(self._stamps())

    def _run(self) -> None:
        failed = False
        while not self._done.wait(_SECONDS):
            failed = not self._try_to_copy(quiet=failed)

    def _try_to_copy(self, quiet: bool) -> bool:
        try:
            self._copy(self._stamps())
        except OSError as error:
            if not quiet:
                self._say(f"{error}; trying again")
            return False
        return True

    def _copy(self, stamps: dict[str, _Stamp]) -> None:
        """Copies what changed, files that make others count last; then removes what is gone."""
        changed = {name: stamp for name, stamp in stamps.items() if self._copied.get(name) != stamp}
        # Read before the others are copied: they then are what these tell of.
        last = {name: files.read(self._path(name)) for name in changed if os.path.basename(name) in _LAST}
        first = [name for name in changed if name not in last]
        with contextlib.suppress(FileNotFoundError):
            files.copy_many([self._path(name) for name in first], [self._target(name) for name in first])
            for name in sorted(last, key=lambda name: _LAST.index(os.path.basename(name))):
                files.write(self._target(name), [last[name]])
            self._copied.update(changed)
        for name in self._copied.keys() - self._stamps().keys():
            files.remove(self._target(name))
            del self._copied[name]

    def _stamps(self) -> dict[str, _Stamp]:
        found: dict[str, _Stamp] = {}
        paths = [path for path, _ in files.walk(self._local)] if os.path.isdir(self._local) else [self._local]
        for path in paths:
            name = path[len(self._local) + 1 :]
            unfinished = any(part in piece for piece in name.split("/") for part in _UNFINISHED)
            if unfinished or name == lock.LOCK_FILE:
                continue
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(path)
                found[name] = (status.st_mtime_ns, status.st_size)
        return found

    def _path(self, name: str) -> str:
        return join(self._local, name) if name else self._local

    def _target(self, name: str) -> str:
        return join(self._remote, name) if name else self._remote
