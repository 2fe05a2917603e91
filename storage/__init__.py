"""Files and folders, local and remote: written whole, marked, locked and published. Used by every other package."""

from storage.files import (
    TEMPORARY_SUFFIX,
    WriteError,
    copy_many,
    exists,
    list_files,
    local_folder,
    make_folder,
    move,
    names_in,
    read,
    reading,
    remove,
    size,
    walk,
    write,
    writing,
)
from storage.paths import OverlapError, is_local, join, refuse_overlap

__all__ = [
    "TEMPORARY_SUFFIX",
    "OverlapError",
    "WriteError",
    "copy_many",
    "exists",
    "is_local",
    "join",
    "list_files",
    "local_folder",
    "make_folder",
    "move",
    "names_in",
    "read",
    "reading",
    "refuse_overlap",
    "remove",
    "size",
    "walk",
    "write",
    "writing",
]
