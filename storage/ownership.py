"""Whose a folder is: a command writes into, replaces and removes only what bears the mark of a run of its own."""

from __future__ import annotations

import json
import os

from storage import files, process
from storage.lock import LOCK_FILE
from storage.paths import is_local, join, stay_below
from storage.process import Process

MARK_FILE = "_made_by.json"
PROJECT = "entire-space"


class OwnershipError(ValueError):
    """A folder that must not be written to; the message says why and what to do."""


def mark(folder: str, by: Process, made: tuple[str, ...] = ()) -> None:
    """Marks a folder as that of a command.

    Args:
        folder: local or remote; made where it is absent.
        by: the run that makes it.
        made: paths below the folder of the files that are there.
    """
    contents = {"project": PROJECT, "by": json.loads(by.to_json()), "files": sorted(made)}
    files.write(join(folder, MARK_FILE), [json.dumps(contents, indent=1).encode() + b"\n"])


def maker(folder: str) -> Process | None:
    """The run that last marked the folder; None where it bears no mark of this project."""
    found = _contents(folder)
    return None if found is None else process.from_json(json.dumps(found["by"]).encode())


def made_files(folder: str) -> frozenset[str]:
    """Paths below the folder that its mark lists."""
    found = _contents(folder)
    return frozenset(found["files"] if found else ())


def _contents(folder: str) -> dict | None:
    try:
        found = json.loads(files.read(join(folder, MARK_FILE)))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    fits = isinstance(found, dict) and found.get("project") == PROJECT and "by" in found
    return found if fits and stay_below(found.get("files")) else None


def is_ours(folder: str, command: str) -> bool:
    """Whether the folder is absent, empty, or marked by a run of the command."""
    by = maker(folder)
    if by is not None:
        return by.command == command
    if is_local(folder) and os.path.lexists(folder) and not os.path.isdir(folder):
        return False
    # A run that was killed before its mark was whole leaves these alone.
    return all(name.startswith((MARK_FILE, LOCK_FILE)) for name in files.names_in(folder))


def refuse_foreign(folder: str, command: str, flag: str) -> None:
    """Refuses a folder that is neither absent, empty nor of an earlier run of the command.

    Raises:
        OwnershipError: it holds other files.
    """
    if is_ours(folder, command):
        return
    by = maker(folder)
    whose = f"files of {by.command}" if by else "files that no run of this command made"
    shown = ", ".join(files.names_in(folder)[:3]) or "a file of that name"
    unmarked = "" if by else f". If a version made them that left no {MARK_FILE}, delete them yourself"
    raise OwnershipError(f"--{flag}={folder}: holds {whose} ({shown} ...); name an empty or new folder{unmarked}")


def claim(folder: str, command: str, flag: str) -> None:
    """Takes a folder for a command: refuses a foreign one, and marks a new one.

    Raises:
        OwnershipError: it holds other files.
    """
    refuse_foreign(folder, command, flag)
    if maker(folder) is None:
        mark(folder, process.this(command))


def refuse_foreign_file(path: str, begin: bytes, flag: str) -> None:
    """Refuses to replace a file that does not begin as the one that is to be written does.

    Raises:
        OwnershipError: it is another file, or a folder.
    """
    if not files.exists(path):
        return
    try:
        found = files.read(path, 0, len(begin))
    except IsADirectoryError:
        raise OwnershipError(f"--{flag}={path}: is a folder; name a file in it") from None
    if found not in (b"", begin):
        raise OwnershipError(
            f"--{flag}={path}: is there and is no file of this command (one begins with {begin.decode().strip()!r}); "
            "name another file"
        )
