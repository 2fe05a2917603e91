"""The folder in which commands are killed: a log, two outputs of it, a model and an export, made once."""

from __future__ import annotations

import hashlib
import os
import pathlib
import random
import shutil
import sys
from collections.abc import Callable, Sequence

import storage
from killing import forked_check
from killing.children import Child, load
from storage import lock, ownership, publish

LIBRARIES = {
    "preprocess": ("preprocess.command", "preprocess.report.report"),
    "trainer": (
        "model_fn.quiet_tensorflow",
        "trainer.training",
        "trainer.exporting",
        "trainer.remote",
        "serving.trial",
    ),
    "serving": ("model_fn.quiet_tensorflow", "serving.local_server.servable", "serving.local_server.http_app"),
}
_SMALL_MODEL = ("--embedding_size=4", "--deep_layers=8", "--batch_size=256", "--num_threads=1")
# Two fields: most of a short run is the making of a graph, which grows with them.
_SCHEMA = """
name: two_fields
columns: {request: visit, sample_id: row, click: click, conversion: bought}
fields:
  - {name: user, group: user, side: context, kind: one, type: id}
  - {name: item, group: item, side: impression, kind: one, type: id}
"""
_VISITS = {"train": 800, "test": 200}
_ITEMS = 1000
TEST_FILE = "test.csv"

# A module and its flags.
Command = tuple[str, list[str]]


class Place:
    """Makes what the stages need, and their commands.

    Args:
        folder: of everything.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.loading = 0.0
        os.makedirs(folder, exist_ok=True)

    def path(self, name: str) -> str:
        return f"{self.folder}/{name}"

    @property
    def log(self) -> str:
        return self.path("log.txt")

    def raw(self) -> str:
        return self._made("raw", _write_log)

    def output(self, name: str, min_count: int) -> str:
        return self._made(name, lambda out: self.run(*self.preprocess(out, min_count)))

    def old(self) -> str:
        return self.output("old", 2)

    def new(self) -> str:
        return self.output("new", 3)

    def model(self) -> str:
        return self._made("model", lambda out: self.run(*self.train(out, "--num_epochs=1")))

    def export(self) -> str:
        return self._made("export", lambda out: self.run(*self.exporting(out)))

    def preprocess(self, out: str, min_count: int, *flags: str, raw: str = "") -> Command:
        log = [f"--input_dir={raw or self.raw()}", "--input_format=csv", f"--schema={self.raw()}/schema.yaml"]
        how = [f"--output_dir={out}", f"--min_count={min_count}", "--direct_num_workers=1", "--overwrite"]
        return "preprocess", [*log, *how, *flags]

    def train(self, model: str, *flags: str) -> Command:
        return "trainer", [f"--data_dir={self.old()}", f"--model_dir={model}", *_SMALL_MODEL, *flags]

    def exporting(self, export: str, *flags: str) -> Command:
        places = [f"--data_dir={self.old()}", f"--model_dir={self.model()}", f"--export_dir={export}"]
        return "trainer", ["--task_type=export", *places, *flags]

    def start(self, module: str, flags: Sequence[str], fresh: bool = False) -> Child:
        if not fresh:
            self.load(module)
        first = forked_check.prepare if "--task_type=export" in flags else None
        return Child.command(module, flags, self.log, fresh, first)

    def load(self, module: str) -> None:
        """Loads a command's libraries; `loading` is the seconds that it took."""
        self.loading += load(LIBRARIES[module])

    def run(self, module: str, flags: Sequence[str], fresh: bool = False) -> str:
        """Runs a command to its end. Returns what it printed."""
        child = self.start(module, flags, fresh)
        if status := child.wait():
            sys.exit(f"python -m {module} {' '.join(flags)}: status {status}\n{child.text()}")
        return child.text()

    def _made(self, name: str, make: Callable[[str], object]) -> str:
        out, done = self.path(name), pathlib.Path(self.path(f"{name}.made"))
        if not done.exists():
            shutil.rmtree(out, ignore_errors=True)
            make(out)
            done.touch()
        return out


def _write_log(folder: str) -> None:
    """Visits of five items each, of which some are clicked and some of those bought."""
    dice = random.Random(1)
    row = 0
    storage.write(f"{folder}/schema.yaml", [_SCHEMA.encode()])
    for split, visits in _VISITS.items():
        lines = ["visit,row,user,item,click,bought"]
        for visit in range(visits):
            for _ in range(5):
                row += 1
                click = dice.random() < 0.3
                bought = click and dice.random() < 0.3
                lines.append(f"{split}{visit},{row},{visit % 150},{dice.randrange(_ITEMS)},{click:d},{bought:d}")
        storage.write(f"{folder}/{split}.csv", ["\n".join([*lines, ""]).encode()])


def digests(folder: str, but: Callable[[str], bool] = lambda path: False) -> dict[str, str]:
    """Digest of each file, by its path below the folder."""
    paths = [path for path, _ in storage.walk(folder) if not but(path)]
    return {path[len(folder) + 1 :]: hashlib.sha256(storage.read(path)).hexdigest() for path in paths}


def of_run(path: str) -> bool:
    """Whether a file of an output differs from run to run, or belongs to none, or was not written to its end."""
    name = os.path.basename(path)
    own = (ownership.MARK_FILE, lock.LOCK_FILE)
    return f"/{publish.TEMPORARY}/" in path or "/report/" in path or name in own or bool(storage.unfinished_of(name))
