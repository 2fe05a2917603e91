"""Training on a cluster of processes of this machine: speed and loss by the number of workers, and what kills cost.

python benchmarks/training_clusters.py --folder=DIR [--workers=1,2,4] [--requests=4000] [--epochs=2]

Each cluster is a chief, the workers, two parameter servers and an evaluator, over loopback; beside them one process
alone. All train the same impressions once a pass. Then a worker, and a parameter server, is killed in the middle; it,
and whoever ends because of it, is started again at once, as a cluster's scheduler does, until all have ended well.

speed   impressions/s of all together, each process by its own lines: without start-up, evaluation and export
loss    of the test split after all passes: of CTR, and of CTCVR
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

from pipeline import RECIPE, REPOSITORY, Workshop

SERVERS = 2
BATCH = 512
TRAINING = [
    RECIPE,
    f"--batch_size={BATCH}",
    "--embedding_size=8",
    "--deep_layers=64,32",
]
TRAINING += ["--num_threads=1", "--log_steps=20", "--save_checkpoints_secs=10", "--exporters=final", "--seed=1"]


@dataclasses.dataclass
class Member:
    """A process of a cluster, and its lines with the times at which they came."""

    process: subprocess.Popen[str]
    lines: list[tuple[float, str]] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append((time.time(), line.rstrip()))

    def wait(self) -> int:
        """Waits for its end; gives its status."""
        status = self.process.wait()
        self._reader.join()
        return status

    @property
    def text(self) -> str:
        """All that it printed."""
        return "\n".join(line for _, line in self.lines)

    def steps(self) -> list[tuple[float, int]]:
        """Time and step, of those of this process, of each line of progress."""
        found = ((at, re.match(r"step ([\d,]+)", line)) for at, line in self.lines)
        return [(at, int(match[1].replace(",", ""))) for at, match in found if match]


class Cluster:
    """The processes of one run; `workers` None: one process alone."""

    def __init__(self, data: str, model: str, workers: int | None, epochs: int) -> None:
        self._command = [sys.executable, "-m", "trainer", f"--data_dir={data}", f"--model_dir={model}", *TRAINING]
        self._command.append(f"--num_epochs={epochs}")
        self._tasks: dict[str, dict[str, str]] = {"chief 0": {}}
        if workers is not None:
            self._tasks = self._cluster({"chief": 1, "worker": workers, "ps": SERVERS})
        self.members = {title: self._start(title) for title in self._tasks}

    def _cluster(self, roles: dict[str, int]) -> dict[str, dict[str, str]]:
        addresses = {role: [f"127.0.0.1:{_free_port()}" for _ in range(count)] for role, count in roles.items()}
        tasks = [(role, index) for role, count in [*roles.items(), ("evaluator", 1)] for index in range(count)]
        return {
            f"{role} {index}": {"TF_CONFIG": json.dumps({"cluster": addresses, "task": {"type": role, "index": index}})}
            for role, index in tasks
        }

    def _start(self, title: str) -> Member:
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | self._tasks[title]
        return Member(
            subprocess.Popen(
                self._command,
                cwd=REPOSITORY,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )

    def kill(self, title: str, step: int) -> int:
        """Kills a process once the chief is beyond a step, and starts it again. Gives the chief's step."""
        chief = self.members["chief 0"]
        while not (found := chief.steps()) or found[-1][1] < step:
            if chief.process.poll() is not None:
                sys.exit(f"the chief ended before step {step}:\n{chief.text[-2000:]}")
            time.sleep(0.05)
        self.members[title].process.send_signal(signal.SIGKILL)
        return found[-1][1]

    def finish(self) -> dict[str, int]:
        """Waits for all; gives the status of each."""
        return {title: member.wait() for title, member in self.members.items()}

    def supervise(self) -> list[tuple[str, Member]]:
        """Starts again whoever ends with an error until nobody does; gives those that ended so, in turn."""
        ended = []
        while running := [title for title, member in self.members.items() if member.process.poll() != 0]:
            for title in running:
                if self.members[title].process.poll() is not None:
                    self.members[title].wait()
                    ended.append((title, self.members[title]))
                    self.members[title] = self._start(title)
            time.sleep(0.2)
        self.finish()
        return ended


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def trained(text: str) -> int:
    """Impressions that a process says it trained."""
    found = re.search(r"on ([\d,]+) impressions in this run", text)
    return int(found[1].replace(",", "")) if found else 0


def losses(data: str, model: str) -> str:
    """Losses of the test split, as text."""
    command = [sys.executable, "-m", "trainer", "--task_type=eval", f"--data_dir={data}", f"--model_dir={model}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    with open(os.path.join(model, "eval.json"), encoding="utf-8") as file:
        metrics = json.load(file)
    found = {name: value for name, value in metrics.items() if "loss" in name and isinstance(value, float)}
    return " ".join(f"{name} {value:.5f}" for name, value in sorted(found.items())) or done.stdout[-300:]


def fresh(model: str) -> str:
    """A model folder that is not there yet."""
    shutil.rmtree(model, ignore_errors=True)
    return model


def of_one(member: Member) -> float:
    """Impressions/s of one process; 0 of one that trains nothing."""
    steps = member.steps()
    if len(steps) < 2:
        return 0.0
    (begin, first), *_, (end, last) = steps
    return (last - first) * BATCH / (end - begin)


def measure(data: str, model: str, workers: int | None, epochs: int) -> None:
    """Trains and prints a row."""
    cluster = Cluster(data, fresh(model), workers, epochs)
    statuses = cluster.finish()
    chief = cluster.members["chief 0"]
    if set(statuses.values()) != {0}:
        sys.exit(f"ended with {statuses}:\n{chief.text[-2000:]}")
    total = sum(trained(member.text) for member in cluster.members.values())
    title = "one process" if workers is None else f"chief and {workers} worker{'s' * (workers > 1)}"
    speed = sum(of_one(member) for member in cluster.members.values())
    print(f"{title}: {speed:,.0f} impressions/s, {total:,} trained, {losses(data, model)}", flush=True)


def interrupt(data: str, model: str, title: str, epochs: int, step: int) -> None:
    """Kills a process in the middle, and prints how the run went on."""
    cluster = Cluster(data, fresh(model), 2, epochs)
    at, begin = cluster.kill(title, step), time.time()
    ended = cluster.supervise()
    chief = cluster.members["chief 0"].text
    total = sum(trained(member.text) for member in [*cluster.members.values(), *(member for _, member in ended)])
    again = ", ".join(name for name, _ in ended)
    going_on = re.search(r"going on behind.*", chief)
    print(f"{title} killed at step {at:,}; started again: {again}; all ended well {time.time() - begin:.0f} s later")
    print(f"  {going_on[0] if going_on else 'from the beginning'}; {total:,} impressions trained by those that say so")
    print(f"  {losses(data, model)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="keeps the log and its records")
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--kills", default="worker 0,ps 0", help="processes that are killed, each in a run of its own")
    arguments = parser.parse_args()
    shop = Workshop(arguments.folder)
    sizes = (f"--requests={arguments.requests}", f"--test_requests={arguments.requests // 8}", "--history_scale=0.1")
    data = shop.records(shop.log(*sizes, "--seed=1"), "--min_count=5")
    model = os.path.join(arguments.folder, "model")
    for workers in (None, *(int(word) for word in arguments.workers.split(",") if word)):
        measure(data, model, workers, arguments.epochs)
    # In the middle of the chief's part, which is a third.
    steps = arguments.requests * 58 * arguments.epochs // BATCH // 3
    for title in filter(None, arguments.kills.split(",")):
        interrupt(data, model, title, 2 * arguments.epochs, steps)


if __name__ == "__main__":
    main()
