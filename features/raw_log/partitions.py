"""Folders such as `dt=2026-01-03`: files below one have a column of that name and value, as Hive and Spark have it."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

# What Hive calls the folder of rows without a value.
_NOTHING = "__HIVE_DEFAULT_PARTITION__"

Partitions = tuple[tuple[str, str], ...]


def of_path(path: str, folder: str) -> Partitions:
    """Name and value of each such folder that a file lies in, outermost first; an empty value stands for none.

    Args:
        path: of the file.
        folder: that was asked for. Folders above it are where the log happens to be, but for such as it ends with:
            `--input_dir=log/dt=2026-01-03` names a part of a log.
    """
    above = folder.rstrip("/").split("/")
    below = path[len(folder) :].split("/")[:-1]
    ends = [place for place, part in enumerate(above) if "=" not in part]
    return _pairs([*above[ends[-1] + 1 if ends else 0 :], *below])


def _pairs(folders: Iterable[str]) -> Partitions:
    found: dict[str, str] = {}
    for part in folders:
        name, sign, value = part.partition("=")
        if name and sign:
            found[unquote(name)] = "" if value == _NOTHING else unquote(value)
    return tuple(found.items())
