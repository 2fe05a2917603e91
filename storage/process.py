"""Which process did something, so that another can name it and see whether it still runs; and the machine's cores."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import socket
import uuid
from typing import Any


@dataclasses.dataclass(frozen=True)
class Process:
    """A run of a command.

    Attributes:
        command: such as `python -m preprocess`.
        run: unlike that of any other run.
        started: when, UTC.
        host: name of its machine.
        pid: its number there.
        birth: when the system started it, in the system's own measure: a number is used again, the pair is not.
        space: the system's space of process numbers: containers have their own.
    """

    command: str
    run: str
    started: str
    host: str
    pid: int
    birth: str
    space: str

    def to_json(self) -> bytes:
        """For `from_json`."""
        return json.dumps(dataclasses.asdict(self), indent=1).encode() + b"\n"

    def __str__(self) -> str:
        return f"{self.command}, process {self.pid} on {self.host}, since {self.started}"

    def surely_dead(self) -> bool:
        """Whether it ran on this machine and has ended. One of another machine cannot be asked."""
        if (self.host, self.space) != (socket.gethostname(), _space()):
            return False
        return not _runs(self.pid) or self.birth != _birth(self.pid)


def this(command: str) -> Process:
    """The process that asks."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    pid = os.getpid()
    return Process(command, uuid.uuid4().hex, now, socket.gethostname(), pid, _birth(pid), _space())


def from_json(data: bytes) -> Process | None:
    """What `to_json` made, None if it is anything else."""
    try:
        values: Any = json.loads(data)
        return Process(**{field.name: values[field.name] for field in dataclasses.fields(Process)})
    except (ValueError, TypeError, KeyError):
        return None


def cores() -> int:
    """Cores that this process may use; all of the machine where the system does not say (macOS)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # of somebody else
    return True


def _birth(pid: int) -> str:
    """From Linux' /proc; empty elsewhere."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
