"""The local server under load while new versions come: answers, errors and times.

python benchmarks/serving_load.py --export_dir=E [--seconds=60] [--share=0.8] [--reload_seconds=20]

E is the base folder of any exported model (benchmarks/serving_model.py makes one of Ali-CCP's size); the calls are its
warm-up with the candidates in other orders, so that scores given to the wrong call show. First finds the capacity
(calls/s with every connection busy), then sends that share of it at even times while copies of the model appear as new
versions. Times count from when a call was due, so one that had to wait for another is not let off.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import queue
import shutil
import tempfile
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import orjson
from serving_calls import Caller, running_server, warmup_tensors

from serving import saved_model_files

ROTATIONS = 8
CONNECTIONS = 4
LARGEST_DIFFERENCE = 1e-6
POLL_SECONDS = 0.5


@dataclasses.dataclass
class Outcome:
    """What became of the calls of a phase: seconds of each, and the failed and the wrong ones."""

    seconds: list[float] = dataclasses.field(default_factory=list)
    failed: list[str] = dataclasses.field(default_factory=list)
    wrong: int = 0


def rotated_bodies(tensors: dict[str, np.ndarray]) -> list[tuple[int, bytes]]:
    """Bodies with the candidates moved on by so many places."""
    count = len(next(array for array in tensors.values() if array.ndim == 2))
    bodies = []
    for shift in (count * number // ROTATIONS for number in range(ROTATIONS)):
        moved = {name: np.roll(array, shift, axis=0) if array.ndim == 2 else array for name, array in tensors.items()}
        bodies.append((shift, orjson.dumps({"inputs": {name: array.tolist() for name, array in moved.items()}})))
    return bodies


def scores_of(answer: bytes) -> dict[str, np.ndarray]:
    return {name: np.array(values) for name, values in orjson.loads(answer)["outputs"].items()}


def send(url: str, bodies: list[tuple[int, bytes]], expected: dict[str, np.ndarray], due: queue.SimpleQueue) -> Outcome:
    """Sends a call for each time in the queue, on several connections; None in it ends a connection."""
    outcome = Outcome()
    lock = threading.Lock()

    def work() -> None:
        caller = Caller(url)
        while (entry := due.get()) is not None:
            number, moment = entry
            time.sleep(max(0.0, moment - time.perf_counter()))
            start = moment or time.perf_counter()
            shift, body = bodies[number % len(bodies)]
            try:
                found = scores_of(caller.post(body))
            except (OSError, RuntimeError) as error:
                with lock:
                    outcome.failed.append(str(error))
                caller = Caller(url)
                continue
            seconds = time.perf_counter() - start
            right = all(np.abs(np.roll(expected[n], shift) - found[n]).max() <= LARGEST_DIFFERENCE for n in expected)
            with lock:
                outcome.seconds.append(seconds)
                outcome.wrong += not right

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcome


def capacity(url: str, bodies: list[tuple[int, bytes]], expected: dict[str, np.ndarray], calls: int) -> float:
    """Calls/s with every connection busy."""
    due: queue.SimpleQueue = queue.SimpleQueue()
    for number in range(calls):
        due.put((number, 0.0))
    for _ in range(CONNECTIONS):
        due.put(None)
    start = time.perf_counter()
    outcome = send(url, bodies, expected, due)
    if outcome.failed or outcome.wrong:
        raise SystemExit(f"capacity run: {len(outcome.failed)} failed, {outcome.wrong} wrong: {outcome.failed[:1]}")
    return calls / (time.perf_counter() - start)


def publish_versions(source: str, base: str, every: float, stop: threading.Event) -> int:
    """Makes the model appear as a new version time and again; returns how often."""
    version = 1
    while not stop.wait(every):
        version += 1
        publish(source, base, version)
    return version - 1


def publish(source: str, base: str, version: int) -> None:
    temporary = os.path.join(base, f"temp-{version}")
    shutil.copytree(source, temporary, copy_function=os.link)
    os.rename(temporary, os.path.join(base, str(version)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export_dir", required=True, help="base folder of an exported model")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--share", type=float, default=0.8, help="of the capacity")
    parser.add_argument("--reload_seconds", type=float, default=20, help="between two new versions")
    parser.add_argument("--capacity_calls", type=int, default=400)
    arguments = parser.parse_args()
    source = os.path.join(arguments.export_dir, str(saved_model_files.versions(arguments.export_dir)[-1]))
    bodies = rotated_bodies(warmup_tensors(source))
    # Beside the model, so that versions are links and not copies.
    with tempfile.TemporaryDirectory(dir=arguments.export_dir, prefix="load-test-") as base:
        publish(source, base, 1)
        with running_server(base, f"--file_system_poll_wait_seconds={POLL_SECONDS}") as url:
            expected = scores_of(Caller(url).post(bodies[0][1]))
            capacity(url, bodies, expected, arguments.capacity_calls // 4)
            most = capacity(url, bodies, expected, arguments.capacity_calls)
            rate = arguments.share * most
            outcome, reloads = load(url, bodies, expected, source, base, rate, arguments)
    times = np.array(outcome.seconds) * 1e3
    p50, p99, longest = np.percentile(times, 50), np.percentile(times, 99), times.max()
    print(
        f"capacity {most:.1f} calls/s, sent {rate:.1f} calls/s for {arguments.seconds:g} s, {reloads[0]} new versions"
    )
    print(f"{len(times)} answered, {len(outcome.failed)} failed, {outcome.wrong} with wrong scores")
    print(f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {longest:.1f} ms; p99 / p50 = {p99 / p50:.1f}")
    if outcome.failed or outcome.wrong:
        raise SystemExit(f"first failure: {outcome.failed[:1]}")


def load(url, bodies, expected, source, base, rate, arguments) -> tuple[Outcome, list[int]]:
    """Sends calls at even times while versions come; with the outcome, a list of how many came."""
    due: queue.SimpleQueue = queue.SimpleQueue()
    begin = time.perf_counter() + 0.1
    for number in range(int(arguments.seconds * rate)):
        due.put((number, begin + number / rate))
    for _ in range(CONNECTIONS):
        due.put(None)
    stop = threading.Event()
    reloads: list[int] = []
    publisher = threading.Thread(
        target=lambda: reloads.append(publish_versions(source, base, arguments.reload_seconds, stop))
    )
    publisher.start()
    try:
        return send(url, bodies, expected, due), reloads
    finally:
        stop.set()
        publisher.join()


if __name__ == "__main__":
    main()
