"""The commands that are killed, and what may be found afterwards: what was there, or the new output, each whole."""

from __future__ import annotations

import functools
import json
import os
import re
import socket
import sys
import time

import storage
from killing import calls
from killing.children import Child
from killing.killer import LOST, Stage
from killing.place import Command, Place, digests, of_run
from storage import ownership, publish

OLD = "the old output, whole"
NEW = "the new output, whole"
FINISHED = "the new output, whole, its putting in place finished by the next command"


def seconds_of(place: Place, command: Command) -> float:
    """Of a forked run, whose libraries are loaded already."""
    place.load(command[0])
    begin = time.monotonic()
    place.run(*command)
    return time.monotonic() - begin


def run_to_end(stage: Stage) -> None:
    """Runs a stage's command without a kill; says what it printed if it failed."""
    child = stage.start(fresh=False)
    if status := child.wait():
        print(f"{stage.name}: run to its end: status {status}\n{child.text()}", file=sys.stderr)


def finished_by_next(out: str) -> bool:
    """Does what every command does first that reads or writes the folder. Returns whether there was something to do."""
    left = storage.exists(storage.join(out, publish.JOURNAL_FILE))
    publish.recover(out, "faults", "folder")
    return left


def has_no_leftovers(out: str) -> bool:
    """Whether a complete output has nothing beside its parts but its marks."""
    own = {name for name in storage.names_in(out) if name.startswith("_")}
    return own == {ownership.MARK_FILE, publish.SUCCESS_FILE}


class Publish:
    """The putting in place by itself: many small files, so that a kill falls between any two of its steps."""

    name = "publish"
    starts_anew = False
    late_changes = 1
    late_seconds = 0.02
    _PARTS, _FILES = 8, 8

    def __init__(self, place: Place) -> None:
        self._out, self._place = place.path("published"), place
        self.late = (f"{self._out}/{publish.JOURNAL_FILE}", f"{self._out}/{publish.TEMPORARY}/*/new")
        self._content = 0

    def prepare(self) -> float:
        self._run().wait()
        begin = time.monotonic()
        self._run().wait()
        self.look()
        return time.monotonic() - begin

    def start(self, fresh: bool) -> Child:
        return self._run()

    def look(self) -> str:
        finished = finished_by_next(self._out)
        paths = [path for path, _ in storage.walk(self._out) if "/part" in path and publish.TEMPORARY not in path]
        found = {storage.read(path) for path in paths}
        complete = storage.exists(storage.join(self._out, publish.SUCCESS_FILE))
        if not complete or len(found) != 1 or len(paths) != self._PARTS * self._FILES:
            return LOST
        before, self._content = self._content, int(found.pop())
        if self._content == before:
            return OLD
        return (FINISHED if finished else NEW) if self._content == before + 1 else LOST

    def is_whole_after_rerun(self) -> bool:
        run_to_end(self)
        return self.look() == NEW and has_no_leftovers(self._out)

    def _run(self) -> Child:
        return Child.forked(self._make, self._place.log)

    def _make(self) -> None:
        with publish.making(self._out, "faults", "folder", overwrite=True) as output:
            for part in range(self._PARTS):
                for number in range(self._FILES):
                    path = f"{output.temporary}/part{part}/{number}"
                    storage.write(path, [str(self._content + 1).encode()])
            output.publish({f"part{part}": f"part{part}" for part in range(self._PARTS)})


class Preprocess:
    """`python -m preprocess --overwrite` over an output of other settings, and back."""

    name = "preprocess"
    starts_anew = True
    late_changes = 1
    late_seconds = 0.03

    def __init__(self, place: Place) -> None:
        self._place, self._out = place, place.path("out")
        self.late = (f"{self._out}/{publish.TEMPORARY}/*/report/report.html",)
        self._here = 2

    def prepare(self) -> float:
        self._wanted = {2: digests(self._place.old(), of_run), 3: digests(self._place.new(), of_run)}
        return seconds_of(self._place, self._place.preprocess(self._out, self._here))

    def start(self, fresh: bool) -> Child:
        return self._place.start(*self._place.preprocess(self._out, self._there), fresh)

    def look(self) -> str:
        finished = finished_by_next(self._out)
        found = digests(self._out, of_run)
        if not _report_is_whole(self._out) or found not in self._wanted.values():
            return LOST
        if found == self._wanted[self._here]:
            return OLD
        self._here = self._there
        return FINISHED if finished else NEW

    def is_whole_after_rerun(self) -> bool:
        run_to_end(self)
        return self.look() == NEW and has_no_leftovers(self._out)

    @property
    def _there(self) -> int:
        return 3 if self._here == 2 else 2


def _report_is_whole(out: str) -> bool:
    json.loads(storage.read(f"{out}/report/report.json"))
    return storage.read(f"{out}/report/report.html").rstrip().endswith(b"</html>")


class Train:
    """`python -m trainer`, which goes on from the checkpoint that the killed runs have left."""

    name = "train"
    starts_anew = True
    late_changes = 8
    late_seconds = 0.02
    _STEPS = 60

    def __init__(self, place: Place) -> None:
        self._place, self._model = place, place.path("killed_model")
        self.late = (f"{self._model}/*", f"{self._model}/eval*/*")
        self._step = -1

    def prepare(self) -> float:
        seconds = seconds_of(self._place, self._command(self._STEPS))
        self._step = self._newest()
        return seconds

    def start(self, fresh: bool) -> Child:
        return self._place.start(*self._command(self._step + self._STEPS), fresh)

    def look(self) -> str:
        before, self._step = self._step, self._newest()
        if self._step < before:
            return LOST
        return "the checkpoint of before" if self._step == before else "a newer checkpoint"

    def is_whole_after_rerun(self) -> bool:
        before = self._step
        run_to_end(self)
        state = self.look()
        strays = [name for name in storage.names_in(self._model) if re.search(r"\.tmp$|tempstate|_temp$|^kept$", name)]
        return state != LOST and self._step == before + self._STEPS and not strays

    def _command(self, max_steps: int) -> Command:
        flags = ("--save_checkpoints_secs=1", "--eval_impressions=500", "--num_epochs=1000000")
        return self._place.train(self._model, *flags, f"--max_steps={max_steps}")

    def _newest(self) -> int:
        return newest_step_in_child(self._model, self._place.log + ".look")


def newest_step_in_child(model: str, log: str) -> int:
    """`newest_step`, without threads of TensorFlow in this process; -1 where something is damaged."""
    child = Child.forked(lambda: print("step", newest_step(model)), log)
    if not child.wait():
        return int(child.text().split()[-1])
    print(child.text())
    return -1


def newest_step(model: str) -> int:
    """Reads every value of every checkpoint of a model, and each file of settings and history beside them."""
    import tensorflow as tf

    for path, _ in storage.list_files(f"{model}/*.json*"):
        contents = storage.read(path)
        for part in contents.splitlines() if path.endswith(".jsonl") else [contents]:
            json.loads(part)
    state = tf.train.get_checkpoint_state(model)
    best = [path.removesuffix(".index") for path, _ in storage.list_files(f"{model}/best/*.index")]
    for path in (*best, *state.all_model_checkpoint_paths):
        reader = tf.train.load_checkpoint(path)
        values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    return int(values["global_step"])


class Export:
    """`--task_type=export`: a new version, tried in a process of its own before it gets its number."""

    name = "export"
    starts_anew = True
    late_changes = 3
    late_seconds = 0.05

    def __init__(self, place: Place) -> None:
        self._place, self._export = place, place.path("killed_export")
        self.late = (f"{self._export}/temp-*", f"{self._export}/temp-*/assets.extra", f"{self._export}/[0-9]*")

    def prepare(self) -> float:
        seconds = seconds_of(self._place, self._place.exporting(self._export))
        self._known = self._versions()
        newest = self._known[max(self._known)]
        self._whole = {path: os.path.getsize(f"{self._export}/{max(self._known)}/{path}") for path in newest}
        return seconds

    def start(self, fresh: bool) -> Child:
        return self._place.start(*self._place.exporting(self._export), fresh)

    def look(self) -> str:
        found = self._versions()
        if any(found.get(name) != files for name, files in self._known.items()):
            return LOST
        added = found.keys() - self._known.keys()
        for name in added:
            if {path: os.path.getsize(f"{self._export}/{name}/{path}") for path in found[name]} != self._whole:
                return LOST
        self._known = found
        return "a new version, whole" if added else "the versions of before"

    def is_whole_after_rerun(self) -> bool:
        run_to_end(self)
        strays = [name for name in storage.names_in(self._export) if not name.isdigit() and name != ownership.MARK_FILE]
        return self.look() == "a new version, whole" and not strays

    def _versions(self) -> dict[str, dict[str, str]]:
        names = filter(str.isdigit, storage.names_in(self._export))
        return {name: digests(f"{self._export}/{name}") for name in names}


class Serve:
    """`python -m serving`, killed while it loads and while a client asks it for scores."""

    name = "serve"
    starts_anew = True
    late = ()
    late_changes = 0
    late_seconds = 0.0
    _CALLING = 0.5

    def __init__(self, place: Place) -> None:
        self._place = place
        self._client: Child | None = None

    def prepare(self) -> float:
        self._before = digests(self._place.export())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._place.load("serving")
        return self._until_it_answers() + self._CALLING

    def start(self, fresh: bool) -> Child:
        server = self._start_server(fresh)
        newest = max(filter(str.isdigit, storage.names_in(self._place.export())))
        version = f"{self._place.export()}/{newest}"
        call = functools.partial(calls.until_it_is_gone, server.pid, self._url, version)
        self._client = Child.forked(lambda: print(call()), self._place.path("client.txt"))
        return server

    def look(self) -> str:
        assert self._client is not None
        status = self._client.wait()
        if status or digests(self._place.export()) != self._before:
            print(self._client.text())
            return LOST
        right = int(self._client.text())
        return "the versions as they were" + (", all answers until then right" if right else ", not yet answering")

    def is_whole_after_rerun(self) -> bool:
        return self._until_it_answers() > 0 and digests(self._place.export()) == self._before

    def _start_server(self, fresh: bool = False) -> Child:
        flags = [f"--model_base_path={self._place.export()}", "--model_name=esmm", f"--rest_api_port={self._port}"]
        return self._place.start("serving", flags, fresh)

    def _until_it_answers(self) -> float:
        begin = time.monotonic()
        server = self._start_server()
        while not server.ended() and not calls.is_available(self._url):
            time.sleep(0.02)
        seconds = time.monotonic() - begin
        if server.ended():
            raise RuntimeError(f"the server ended by itself:\n{server.text()}")
        server.kill()
        return seconds

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1/models/esmm"
