"""Commands on a disk that is full or must not be written to, and on a log that changes while it is read."""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import shutil
import subprocess
import time
from collections.abc import Iterator

import storage
from killing.killer import LOST
from killing.place import TEST_FILE, Command, Place, digests
from killing.stages import newest_step_in_child, seconds_of
from storage import publish

_PAGE = 4096
# For the folders themselves. Not more: an export of a small model takes no hundred pages.
_SPARE_PAGES = 16
COMMANDS = ("preprocess", "train", "export")
DONE = "done"
REFUSED = "refused in a line, what was there is whole"


@contextlib.contextmanager
def mounted(folder: str, size: int, source: str, read_only: bool) -> Iterator[str]:
    """A small filesystem in memory with a copy of a folder in it; needs root."""
    os.makedirs(folder, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        shutil.copytree(source, f"{folder}/copy")
        if read_only:
            subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        yield f"{folder}/copy"
    finally:
        subprocess.run(["umount", folder], check=True)


def pages(folder: str) -> int:
    """Bytes that a copy of a folder takes of a filesystem in memory."""
    counts = [-(-os.path.getsize(path) // _PAGE) + 1 for path, _ in storage.walk(folder)]
    return (sum(counts) + _SPARE_PAGES) * _PAGE


class Starved:
    """One command on a small filesystem.

    Args:
        place: of the commands.
        command: preprocess, train or export.
    """

    def __init__(self, place: Place, command: str) -> None:
        self._place, self._name = place, command
        self._source = {"preprocess": place.old, "train": place.model, "export": place.export}[command]()

    def on_full_disk(self, dice: random.Random) -> str:
        """State after a run that was given some share of what it needs beside what is there."""
        used = pages(self._source)
        return self._state(used + int(dice.uniform(0, 2.0) * used), read_only=False, says="No space left")

    def on_read_only(self) -> str:
        return self._state(2 * pages(self._source), read_only=True, says="Read-only file system")

    def _command(self, out: str) -> Command:
        if self._name == "preprocess":
            return self._place.preprocess(out, 3)
        if self._name == "train":
            return self._place.train(out, "--num_epochs=3", "--save_checkpoints_secs=1")
        return self._place.exporting(out)

    def _state(self, size: int, read_only: bool, says: str) -> str:
        with mounted(self._place.path("small"), size, self._source, read_only) as folder:
            before = self._look(folder)
            child = self._place.start(*self._command(folder))
            status, text = child.wait(), child.text()
            if not status:
                return DONE
            unchanged = before.items() <= self._look(folder).items()
        telling = [line for line in text.splitlines() if says in line]
        if status == 1 and unchanged and len(telling) == 1 and "Traceback" not in text:
            return REFUSED
        print(f"{self._name} with {size:,} bytes: status {status}, unchanged {unchanged}\n{text}", flush=True)
        return LOST

    def _look(self, folder: str) -> dict[str, object]:
        """What must be there afterwards: the files; or of a model, whose old checkpoints go with new ones, one."""
        if self._name != "train":
            return dict(digests(folder))
        return {"a checkpoint, all of them whole": newest_step_in_child(folder, self._place.log) >= 0}


class Changing:
    """`python -m preprocess` of a log that becomes longer or shorter at some moment of a run."""

    def __init__(self, place: Place) -> None:
        self._place, self._out, self._raw = place, place.path("changing_out"), place.path("changing_raw")
        self._seconds = 0.0

    def state(self, dice: random.Random, number: int) -> str:
        if not self._seconds:
            self._prepare()
        whole, before = self._file.read_bytes(), digests(self._out, _of_failure)
        child = self._place.start(*self._command())
        time.sleep(dice.uniform(0, self._seconds))
        self._file.write_bytes(whole + whole[: dice.randrange(len(whole))] if number % 2 else whole[: len(whole) // 2])
        status, text = child.wait(), child.text()
        self._file.write_bytes(whole)
        if not status:
            return "done: it changed before it was read, or afterwards"
        unchanged = before == digests(self._out, _of_failure)
        if unchanged and "Traceback" not in text and ("changed while it was read" in text or "rejected" in text):
            return REFUSED
        print(text, flush=True)
        return LOST

    def _prepare(self) -> None:
        shutil.copytree(self._place.raw(), self._raw, dirs_exist_ok=True)
        self._seconds = seconds_of(self._place, self._command())

    @property
    def _file(self) -> pathlib.Path:
        return pathlib.Path(self._raw, TEST_FILE)

    def _command(self) -> Command:
        return self._place.preprocess(self._out, 2, raw=self._raw)


def _of_failure(path: str) -> bool:
    """Whether a file tells why a run failed."""
    return f"/{publish.FAILED}/" in path
