"""The output folder: refused, cleaned up and completed, so that it never looks complete when it is not."""

from __future__ import annotations

import uuid

from features import names
from preprocess import storage
from preprocess.options import Options

# Holds the files of a run until all are there; where it is and _SUCCESS is not, a run was interrupted.
TEMPORARY = "_temporary"


class OutputError(ValueError):
    """An output folder that must not be written to."""


def prepare(options: Options) -> str:
    """Makes the folder of a run's intermediate files and returns it; leftovers of interrupted runs are removed.

    Raises:
        OutputError: the output folder is complete and --overwrite is not given, or is none of this job's.
    """
    out = options.output_dir
    temporary = storage.join(out, TEMPORARY)
    complete = storage.exists(storage.join(out, names.SUCCESS_FILE))
    if complete and not options.overwrite:
        raise OutputError(f"--output_dir={out}: holds a complete output; give --overwrite to replace it")
    if not complete and not storage.exists(temporary) and storage.list_files(storage.join(out, "*")):
        raise OutputError(f"--output_dir={out}: holds files that are not of this job; name an empty or new folder")
    storage.remove(temporary)
    folder = storage.join(temporary, uuid.uuid4().hex)
    storage.write(storage.join(folder, "started"), [b"intermediate files of a run of preprocess\n"])
    return folder


def publish(options: Options, folder: str, parts: dict[str, str], complete: bool) -> None:
    """Moves the finished parts to their places and marks the output as complete.

    Args:
        options: name the output folder.
        folder: of the run.
        parts: name in the output folder of each part, by its path below `folder`.
        complete: whether the run succeeded. If not, the parts are there to be looked at, without the mark.
    """
    out = options.output_dir
    storage.remove(storage.join(out, names.SUCCESS_FILE))
    for known in {*options.splits, names.VOCABULARY_DIR, names.REJECTED_DIR, names.REPORT_DIR}:
        storage.remove(storage.join(out, known))
    for source, target in parts.items():
        if storage.exists(storage.join(folder, source)):
            storage.move(storage.join(folder, source), storage.join(out, target))
    if complete:
        storage.write(storage.join(out, names.SUCCESS_FILE), [b""])
        storage.remove(storage.join(out, TEMPORARY))
