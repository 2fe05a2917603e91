"""Kills and starves the commands at seeded random moments and looks at what is left: the table of docs/reliability.md.

python benchmarks/faults.py --folder=DIR [--stage=publish,preprocess,...] [--moments=200] [--seed=1]

Every other kill falls anywhere in a run, the others into the moments in which it puts its output in place. A state that
is neither the old nor the new output ends the command with status 1. disk and read_only mount small filesystems in
memory, which needs root.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import glob
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence

import storage
from storage import lock, ownership, publish

ROOT = pathlib.Path(__file__).resolve().parent.parent
STAGES = ("publish", "preprocess", "train", "export", "serve", "disk", "read_only", "changing")
LOST = "LOST"
PUBLISHER = "publisher"
PUBLISH = f"""
import sys, storage
from storage import publish
out, content = sys.argv[1:]
with publish.making(out, {PUBLISHER!r}, "folder", overwrite=True) as output:
    for part in range(8):
        for number in range(8):
            storage.write(f"{{output.temporary}}/part{{part}}/{{number}}", [content.encode()])
    output.publish({{f"part{{part}}": f"part{{part}}" for part in range(8)}})
"""
SMALL_MODEL = ("--embedding_size=4", "--deep_layers=8", "--batch_size=256", "--num_threads=1")


def command(module: str, **flags: object) -> list[str]:
    return [sys.executable, "-m", module, *(f"--{name}={value}" for name, value in flags.items())]


@dataclasses.dataclass(frozen=True)
class Place:
    """The folders that the stages work on, made once."""

    folder: pathlib.Path

    def __getattr__(self, name: str) -> str:
        return str(self.folder / name)

    def prepare(self) -> None:
        if not os.path.exists(self.export):
            shutil.rmtree(self.folder, ignore_errors=True)
            rates = {"click_rate": 0.2, "conversion_rate": 0.2, "history_scale": 0.05}
            run(command("simulate", output_dir=self.raw, requests=150, test_requests=40, **rates))
            for name, count in (("old", 2), ("new", 3)):
                run(self.preprocess(f"{self.folder}/{name}", count))
            run([*self.train(), "--num_epochs=1"])
            run(self.exporting())

    def preprocess(self, out: str, min_count: int) -> list[str]:
        flags = {"input_dir": self.raw, "output_dir": out, "min_count": min_count, "direct_num_workers": 1}
        return [*command("preprocess", **flags), "--overwrite"]

    def train(self, model: str = "") -> list[str]:
        return [*command("trainer", data_dir=self.old, model_dir=model or self.model), *SMALL_MODEL]

    def exporting(self, export: str = "") -> list[str]:
        flags = {"task_type": "export", "data_dir": self.old, "model_dir": self.model}
        return command("trainer", **flags, export_dir=export or self.export)


def start(arguments: Sequence[str]) -> subprocess.Popen:
    """A command in a process group of its own."""
    return subprocess.Popen(
        arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def run(arguments: Sequence[str], succeeds: bool = True) -> str:
    with start(arguments) as process:
        text = process.communicate()[0]
    if succeeds and process.returncode:
        sys.exit(f"{' '.join(arguments)}: status {process.returncode}\n{text}")
    return text


def digests(folder: str, but: Callable[[str], bool] = lambda path: False) -> dict[str, str]:
    paths = [path for path, _ in storage.walk(folder) if not but(path)]
    return {path[len(folder) + 1 :]: hashlib.sha256(storage.read(path)).hexdigest() for path in paths}


class Killer:
    """Kills a command again and again and counts what it finds.

    Args:
        make: the command of an attempt, by its number.
        seconds: that a run takes.
        late: glob of what a run writes before it puts its output in place; empty: it puts nothing in place.
        look: tells the state that a kill left, by the attempt's number.
    """

    def __init__(self, make: Callable[[int], list[str]], seconds: float, late: str, look: Callable[[int], str]) -> None:
        self._make, self._seconds, self._late, self._look = make, seconds, late, look

    def attempts(self, moments: int, dice: random.Random) -> collections.Counter[str]:
        found: collections.Counter[str] = collections.Counter()
        for number in range(moments):
            known = set(glob.glob(self._late))
            with start(self._make(number)) as process:
                if self._late and number % 2:
                    self._wait_for_late(process, known)
                    time.sleep(dice.uniform(0, 0.1))
                else:
                    time.sleep(dice.uniform(0, self._seconds))
                ended = process.poll() is not None
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
            state = self._look(number)
            found[f"{state} (the run had ended)" if ended and state != LOST else state] += 1
        return found

    def _wait_for_late(self, process: subprocess.Popen, known: set[str]) -> None:
        while process.poll() is None and set(glob.glob(self._late)) <= known:
            time.sleep(0.0005)


def seconds_of(arguments: Sequence[str]) -> float:
    begin = time.monotonic()
    run(arguments)
    return time.monotonic() - begin


def of_run(path: str) -> bool:
    """Whether a file of an output differs from run to run, or belongs to none."""
    return (
        f"/{publish.TEMPORARY}/" in path or "/report/" in path or path.endswith((ownership.MARK_FILE, lock.LOCK_FILE))
    )


def of_failure(path: str) -> bool:
    """Whether a file tells why a run failed."""
    return f"/{publish.FAILED}/" in path


def preprocess(place: Place, moments: int, dice: random.Random) -> collections.Counter[str]:
    out = place.out
    counts = {name: digests(getattr(place, name), of_run) for name in ("old", "new")}
    seconds = seconds_of(place.preprocess(out, 2))
    here = "old"

    def look(number: int) -> str:
        nonlocal here
        finished = ""
        if storage.exists(storage.join(out, publish.JOURNAL_FILE)):
            finished = ", finished at the next start"
            with lock.held(out, "faults", "folder"):
                publish.finish_interrupted(out)
        found = digests(out, of_run)
        there = "new" if here == "old" else "old"
        if found == counts[here]:
            return "the old output, whole"
        if found == counts[there]:
            here = there
            return f"the new output, whole{finished}"
        return LOST

    def make(number: int) -> list[str]:
        return place.preprocess(out, 3 if here == "old" else 2)

    late = f"{out}/{publish.TEMPORARY}/*/report/report.html"
    found = Killer(make, seconds, late, look).attempts(moments, dice)
    run(place.preprocess(out, 2))
    if digests(out, of_run) != counts["old"] or os.path.exists(f"{out}/{publish.TEMPORARY}"):
        found[LOST] += 1
    return found


def publish_alone(place: Place, moments: int, dice: random.Random) -> collections.Counter[str]:
    """The putting in place by itself, with files of a size that lets a kill fall between any two of its steps."""
    out = f"{place.folder}/published"

    def make(content: str) -> list[str]:
        return [sys.executable, "-c", PUBLISH, out, content]

    run(make("0"))
    begin = seconds_of([sys.executable, "-c", "import storage.publish"])
    seconds = seconds_of(make("0")) - begin
    here = "0"

    def look(number: int) -> str:
        nonlocal here
        finished = storage.exists(storage.join(out, publish.JOURNAL_FILE))
        publish.recover(out, PUBLISHER, "folder")
        found = {
            storage.read(path) for path, _ in storage.walk(out) if "/part" in path and publish.TEMPORARY not in path
        }
        whole = len(found) == 1 and storage.exists(storage.join(out, publish.SUCCESS_FILE))
        content = found.pop().decode() if whole else ""
        if content == here:
            return "the old output, whole"
        if content == str(number + 1):
            here = content
            return "the new output, whole" + (", finished at the next start" if finished else "")
        return LOST

    class Late(Killer):
        def _wait_for_late(self, process: subprocess.Popen, known: set[str]) -> None:
            time.sleep(begin + dice.uniform(-0.2, 1.2) * seconds)

    return Late(lambda number: make(str(number + 1)), begin + seconds, out, look).attempts(moments, dice)


def checkpoint_step(model: str) -> int:
    """Step of the newest checkpoint, all of whose values are read; -1 where there is none."""
    import tensorflow as tf

    newest = tf.train.latest_checkpoint(model)
    if newest is None:
        return -1
    reader = tf.train.load_checkpoint(newest)
    values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    return int(values["global_step"])


def train(place: Place, moments: int, dice: random.Random) -> collections.Counter[str]:
    model = f"{place.folder}/killed_model"
    flags = ["--save_checkpoints_secs=1", "--eval_impressions=500"]
    step = -1

    def look(number: int) -> str:
        nonlocal step
        try:
            found = checkpoint_step(model)
        except Exception as error:  # whatever a damaged checkpoint raises is what is looked for
            print(f"{model}: {error}", file=sys.stderr)
            return LOST
        before, step = step, max(step, found)
        if found < before:
            return LOST
        return "the checkpoint of before" if found == before else "a newer checkpoint"

    def make(number: int) -> list[str]:
        return [*place.train(model), *flags, f"--num_epochs={2 * number + 4}"]

    seconds = seconds_of([*make(0), "--max_steps=30"])
    found = Killer(make, seconds, f"{model}/model.ckpt-*.index", look).attempts(moments, dice)
    run([*place.train(model), f"--num_epochs={2 * moments + 8}", f"--max_steps={step + 20}"])
    if checkpoint_step(model) < step:
        found[LOST] += 1
    return found


def versions(export: str) -> dict[str, dict[str, str]]:
    return {name: digests(f"{export}/{name}") for name in sorted(os.listdir(export)) if name.isdigit()}


def export(place: Place, moments: int, dice: random.Random) -> collections.Counter[str]:
    target = f"{place.folder}/killed_export"
    seconds = seconds_of(place.exporting(target))
    known = versions(target)
    whole = {name: os.path.getsize(f"{target}/{max(known)}/{name}") for name in known[max(known)]}

    def look(number: int) -> str:
        found = versions(target)
        if any(found.get(name) != files for name, files in known.items()):
            return LOST
        added = found.keys() - known.keys()
        for name in added:
            if {path: os.path.getsize(f"{target}/{name}/{path}") for path in found[name]} != whole:
                print(f"{target}/{name}: not as {max(known)} is", file=sys.stderr)
                return LOST
        known.update({name: found[name] for name in added})
        return "a new version, whole" if added else "the versions of before"

    late = f"{target}/temp-*/assets.extra"
    found = Killer(lambda number: place.exporting(target), seconds, late, look).attempts(moments, dice)
    run(place.exporting(target))
    return found


def serve(place: Place, moments: int, dice: random.Random) -> collections.Counter[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serving = command("serving", model_base_path=place.export, model_name="esmm", rest_api_port=port)
    before = digests(place.export)

    def answers(process: subprocess.Popen) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models/esmm") as answer:
            return process.poll() is None and json.load(answer)["model_version_status"][0]["state"] == "AVAILABLE"
        return False

    def look(number: int) -> str:
        return "the versions as they were" if digests(place.export) == before else LOST

    def until_it_answers() -> float:
        begin = time.monotonic()
        with start(serving) as process:
            while process.poll() is None and not answers(process):
                time.sleep(0.1)
            alive = process.poll() is None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            text = process.communicate()[0]
        if not alive:
            sys.exit(f"{' '.join(serving)}: ended by itself\n{text}")
        return time.monotonic() - begin

    seconds = until_it_answers()
    # Nothing is put in place by a server: all kills fall anywhere from its start to a while after its first answer.
    found = Killer(lambda number: serving, 1.3 * seconds, "", look).attempts(moments, dice)
    until_it_answers()
    return found


@contextlib.contextmanager
def mounted(folder: str, size: int, source: str, name: str, read_only: bool) -> Iterator[str]:
    """A small filesystem in memory with a copy of a folder in it."""
    os.makedirs(folder, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        shutil.copytree(source, f"{folder}/{name}")
        if read_only:
            subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        yield f"{folder}/{name}"
    finally:
        subprocess.run(["umount", folder], check=True)


def starved(place: Place, size: Callable[[int], int], read_only: bool) -> str:
    """State after a run of each command into a filesystem that takes no more, or only a little."""
    states = []
    runs = {
        "old": lambda out: place.preprocess(out, 3),
        "model": lambda model: [*place.train(model), "--num_epochs=3", "--save_checkpoints_secs=1"],
        "export": place.exporting,
    }
    for name, make in runs.items():
        source = getattr(place, name)
        used = sum(found for _, found in storage.walk(source))
        with mounted(f"{place.folder}/small", size(used), source, name, read_only) as folder:
            before = {path: found for path, found in digests(folder).items() if name != "model" or "ckpt" in path}
            with start(make(folder)) as process:
                text = process.communicate()[0]
            after = digests(folder)
            kept = before.items() <= after.items()
            if process.returncode and ("Traceback" in text or not kept):
                print(f"{name}: kept: {kept}\n{text}", file=sys.stderr)
                return LOST
            states.append("refused in a line" if process.returncode else "done")
    return ", ".join(
        f"{command} {state}" for command, state in zip(("preprocess", "train", "export"), states, strict=True)
    )


def disk(place: Place, moments: int, dice: random.Random) -> collections.Counter[str]:
    sizes = lambda used: int(used * dice.uniform(1.1, 2.5)) + (1 << 20)  # noqa: E731
    return collections.Counter(starved(place, sizes, read_only=False) for _ in range(moments))


def read_only(place: Place, moments: int, dice: random.Random) -> collections.Counter[str]:
    return collections.Counter(
        starved(place, lambda used: 2 * used + (1 << 20), read_only=True) for _ in range(moments)
    )


def changing(place: Place, moments: int, dice: random.Random) -> collections.Counter[str]:
    """A line is added to a file of the log at some moment of a run."""
    out, raw = f"{place.folder}/changing_out", f"{place.folder}/changing_raw"
    shutil.copytree(place.raw, raw, dirs_exist_ok=True)
    file = pathlib.Path(raw, "sample_skeleton_test.csv")
    whole, found = file.read_bytes(), collections.Counter()
    arguments = [part.replace(place.raw, raw) for part in place.preprocess(out, 2)]
    seconds = seconds_of(arguments)
    before = digests(out, of_failure)
    for _ in range(moments):
        with start(arguments) as process:
            time.sleep(dice.uniform(0, seconds))
            file.write_bytes(whole + whole[: dice.randrange(len(whole))])
            text = process.communicate()[0]
        if process.returncode:
            refused = "changed while it was read" in text or "rejected" in text
            state = "refused, the old output whole" if refused and digests(out, of_failure) == before else LOST
        else:
            before = digests(out, of_failure)
            state = "done: changed before or after it was read"
        found[state] += 1
        file.write_bytes(whole)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--stage", default=",".join(STAGES))
    parser.add_argument("--moments", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    place = Place(pathlib.Path(given.folder).absolute())
    if given.stage != "publish":
        place.prepare()
    os.makedirs(place.folder, exist_ok=True)
    lost = 0
    for stage in given.stage.split(","):
        found = globals()[{"publish": "publish_alone"}.get(stage, stage)](
            place, given.moments, random.Random(given.seed)
        )
        lost += found[LOST]
        states = "; ".join(f"{count} {state}" for state, count in sorted(found.items()))
        print(f"{stage}: {given.moments} moments: {states}; {found[LOST] or 'nothing'} lost", flush=True)
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
