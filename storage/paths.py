"""Paths of any filesystem, and which of them lie in one another."""

from __future__ import annotations

import fnmatch
import glob
import os
import posixpath
from collections.abc import Iterator, Mapping

_SEPARATOR = "://"
# Names of one and the same store.
_SAME_SCHEME = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "webhdfs": "hdfs"}


class OverlapError(ValueError):
    """An output that would overwrite an input, or lie in it; the message names both flags."""


def is_local(path: str) -> bool:
    """Whether the path is one of this machine's own, without a scheme such as s3://."""
    return _SEPARATOR not in path


def join(folder: str, *parts: str) -> str:
    """Path below a folder, on any filesystem."""
    return "/".join([folder.rstrip("/"), *parts])


def stay_below(found: object) -> bool:
    """Whether something read from a file is a list of paths below a folder, none of which leaves it."""
    return isinstance(found, list) and all(
        isinstance(path, str) and path != "" and not path.startswith("/") and ".." not in path.split("/")
        for path in found
    )


def refuse_overlap(outputs: Mapping[str, str], inputs: Mapping[str, str]) -> None:
    """Refuses an output folder or file that is an input, lies in one or holds one, however the two are written.

    Args:
        outputs: paths to be written, by flag; empty ones are passed over.
        inputs: paths to be read, by flag; an input may be a list with commas, and a glob.

    Raises:
        OverlapError: two of them overlap.
    """
    for output_flag, output in outputs.items():
        for input_flag, listed in inputs.items():
            for entry in filter(None, (part.strip() for part in listed.split(","))):
                if output and (relation := _relation(output, entry)):
                    raise OverlapError(
                        f"--{output_flag}={output} {relation} --{input_flag}={entry}, which is only read and never "
                        "written into; name a folder apart from it"
                    )


def _relation(output: str, entry: str) -> str:
    if glob.has_magic(entry) and _glob_takes(entry, output):
        return "is taken in by"
    for path in _expand(entry):
        if _same(output, path):
            return "is the same place as"
        if any(_same(ancestor, path) for ancestor in _ancestors(output)):
            return "lies inside"
        if any(_same(ancestor, output) for ancestor in _ancestors(path)):
            return "holds"
    return ""


def _expand(entry: str) -> list[str]:
    """The entry itself, and what it stands for where it is a local glob."""
    if not glob.has_magic(entry):
        return [entry]
    return glob.glob(entry) if is_local(entry) else []


def _glob_takes(pattern: str, path: str) -> bool:
    """Whether a glob would find the path, or a folder that it lies in."""
    wanted = _canonical(pattern)
    return any(fnmatch.fnmatchcase(found, wanted) for found in (_canonical(path), *_ancestors(path)))


def _ancestors(path: str) -> Iterator[str]:
    """The folders that a path lies in, the nearest first."""
    place = _canonical(path)
    while (parent := posixpath.dirname(place)) not in ("", place) and not parent.endswith(":/"):
        yield parent
        place = parent


def _canonical(path: str) -> str:
    """One spelling of a path: no links, dots, doubled or trailing slashes, and one name for each scheme."""
    if is_local(path):
        return os.path.realpath(path)
    scheme, rest = path.split(_SEPARATOR, 1)
    scheme = _SAME_SCHEME.get(scheme.lower(), scheme.lower())
    return f"{scheme}{_SEPARATOR}{posixpath.normpath(rest).lstrip('/')}"


def _same(first: str, second: str) -> bool:
    """Whether two paths are one place: links, mounts and filesystems that ignore case included."""
    if is_local(first) and is_local(second) and os.path.exists(first) and os.path.exists(second):
        return os.path.samefile(first, second)
    return _canonical(first) == _canonical(second)
