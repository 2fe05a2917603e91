"""Runs a chain of commands as a person would: shows each, times it, and skips on a rerun what is already done."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import storage

# Of a process's peak memory in bytes: macOS counts bytes, Linux KiB.
_MEMORY_UNIT = 1 if sys.platform == "darwin" else 1024


class StepFailed(Exception):
    """A command of the chain ended with an error; the message says which and how to run it alone."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a step took."""

    seconds: float
    peak_bytes: int


class Chain:
    """Steps of a job in one output folder. A step that ended well leaves a mark there with its command."""

    def __init__(self, folder: str, total: int) -> None:
        self._folder = folder
        self._total = total
        self._number = 0
        os.makedirs(os.path.join(folder, "steps"), exist_ok=True)

    def run(self, title: str, *modules_and_flags: str, before: Callable[[], None] | None = None) -> Cost:
        """Runs `python -m ...`; `before` cleans up what an interrupted earlier try left behind."""
        command = [sys.executable, "-m", *modules_and_flags]
        self._announce(title, command)
        mark = self._mark(title)
        if done := _read_mark(mark, command):
            print(f"  done before ({done.seconds:.0f} s)", flush=True)
            return done
        if before:
            before()
        cost = _run(title, command)
        _write_mark(mark, command, cost)
        print(f"  {cost.seconds:.1f} s, peak memory {cost.peak_bytes / 1e9:.2f} GB", flush=True)
        return cost

    @contextlib.contextmanager
    def server(self, title: str, *modules_and_flags: str, port: int, model: str) -> Iterator[str]:
        """Keeps `python -m serving ...` running inside the `with`; gives its URL, and leaves nothing running."""
        command = [sys.executable, "-m", *modules_and_flags]
        self._announce(title, command)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(process, f"{url}/v1/models/{model}", title)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()

    def _announce(self, title: str, command: list[str]) -> None:
        self._number += 1
        shown = ["python", *command[1:]]
        print(f"\n[{self._number}/{self._total}] {title}\n  $ {shlex.join(shown)}", flush=True)

    def _mark(self, title: str) -> str:
        return os.path.join(self._folder, "steps", title.lower().replace(" ", "_").replace("/", "_") + ".json")


def _run(title: str, command: list[str]) -> Cost:
    started = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except KeyboardInterrupt:
        process.wait()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise StepFailed(f"{title} ended with status {process.returncode}; once that is mended, run the same again")
    return Cost(time.monotonic() - started, usage.ru_maxrss * _MEMORY_UNIT)


def _read_mark(path: str, command: list[str]) -> Cost | None:
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        mark = json.load(file)
    return Cost(mark["seconds"], mark["peak_bytes"]) if mark["command"] == command[1:] else None


def _write_mark(path: str, command: list[str], cost: Cost) -> None:
    storage.write(path, [json.dumps({"command": command[1:], **dataclasses.asdict(cost)}).encode()])


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _wait_until_ready(process: subprocess.Popen, status_url: str, title: str, patience: float = 120.0) -> None:
    give_up = time.monotonic() + patience
    while time.monotonic() < give_up:
        if process.poll() is not None:
            raise StepFailed(f"{title}: the server ended with status {process.returncode} before it was ready")
        if _available(status_url):
            return
        time.sleep(0.2)
    raise StepFailed(f"{title}: no answer from {status_url} within {patience:.0f} s")


def _available(status_url: str) -> bool:
    try:
        with urllib.request.urlopen(status_url, timeout=5) as answer:
            states = [version["state"] for version in json.load(answer)["model_version_status"]]
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return "AVAILABLE" in states
