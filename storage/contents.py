"""Contents of files that a command wrote and another reads: what is wrong with them is said with the file's name."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from storage import files


class ContentsError(ValueError):
    """A file that does not hold what it should; the message names it and says what to do."""


@contextlib.contextmanager
def taken_apart(path: str, remedy: str, kind: type[ContentsError] = ContentsError) -> Iterator[None]:
    """Names a file in the errors of a block that takes its contents apart.

    Args:
        path: of the file.
        remedy: what to do about it.
        kind: of the error.

    Raises:
        ContentsError: the contents are not what the block expects.
    """
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise kind(f"{path}: damaged ({what}); {remedy}") from error


def read_object(path: str) -> dict[str, Any]:
    """The JSON object that a file holds, for a block of `taken_apart`.

    Raises:
        ValueError, TypeError: it holds something else.
    """
    found = json.loads(files.read(path))
    if not isinstance(found, dict):
        raise TypeError("no JSON object")
    return found


def object_of(path: str, remedy: str) -> dict[str, Any]:
    """The JSON object that a file holds; empty where there is no file.

    Raises:
        ContentsError: it holds something else.
    """
    if not files.exists(path):
        return {}
    with taken_apart(path, remedy):
        return read_object(path)
