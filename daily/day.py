"""A day's folder below the output root, and the days that there are."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
from typing import Any

import storage
from daily.options import Options
from features import names
from storage import contents

# Metrics by rows (today's, yesterday's) and by model (new, before); `rows` has their counts.
Scores = dict[str, dict[str, dict[str, Any]]]

DAYS, SERVED, WITHDRAWN = "days", "served", "withdrawn"
# In the gate's decision.
SERVED_AS = "served_as"
_DATA, _MODEL, _EXPORT, _STEPS, _GATE = "data", "model", "export", "steps", "gate.json"


@dataclasses.dataclass(frozen=True)
class Day:
    """Where everything of a day lies.

    Attributes:
        root: output root of the run.
        date: YYYY-MM-DD.
    """

    root: str
    date: str

    @property
    def folder(self) -> str:
        """Of the day."""
        return os.path.join(self.root, DAYS, self.date)

    @property
    def data(self) -> str:
        """What preprocess made."""
        return os.path.join(self.folder, _DATA)

    @property
    def vocabulary(self) -> str:
        """Of the day."""
        return names.vocabulary_dir(self.data)

    @property
    def model(self) -> str:
        """model_dir of the day."""
        return os.path.join(self.folder, _MODEL)

    @property
    def export(self) -> str:
        """Versions that the gate has not let through."""
        return os.path.join(self.folder, _EXPORT)

    @property
    def gate_file(self) -> str:
        """The gate's decision."""
        return os.path.join(self.folder, _GATE)

    def done(self, step: str) -> bool:
        """Whether a step has ended well."""
        return os.path.exists(self._step_file(step))

    def mark_done(self, step: str, told: dict[str, Any]) -> None:
        """Notes that a step has ended well."""
        write_json(self._step_file(step), told)

    def _step_file(self, step: str) -> str:
        return os.path.join(self.folder, _STEPS, f"{step}.json")

    def verdict(self) -> dict[str, Any] | None:
        """What the gate found; None before it."""
        return read_json(self.gate_file) if os.path.exists(self.gate_file) else None

    @property
    def served_as(self) -> str:
        """Name of the day's version among those that are, or were, served; empty: it was not let through."""
        verdict = self.verdict() or {}
        # An older release served a version by its own name, and noted no other.
        own = os.path.basename(verdict.get("version", "")) if self.accepted() else ""
        return str(verdict.get(SERVED_AS, own))

    def accepted(self) -> bool:
        """Whether the day's model is (or was) served, and the next day goes on from it."""
        return bool((self.verdict() or {}).get("accepted")) and self.done("publish")

    def remove_bulk(self) -> list[str]:
        """Removes data, model and export; decisions and times stay. Returns what was there."""
        there = [path for path in (self.data, self.model, self.export) if os.path.exists(path)]
        for path in there:
            storage.remove(path)
        return there


def of_log(options: Options) -> list[Day]:
    """Days of the log root within the bounds, in order.

    Raises:
        ValueError: no folder of a day there.
    """
    first, last = options.bounds
    found = [name for name in storage.names_in(options.log_root) if is_date(name)]
    chosen = [name for name in found if (not first or name >= first) and (not last or name <= last)]
    if not chosen:
        within = f" within --days={options.days}" if options.days else ""
        raise ValueError(f"--log_root={options.log_root}: no folder there is named after a day (YYYY-MM-DD){within}")
    return [Day(options.output_root, name) for name in chosen]


def made(root: str) -> list[Day]:
    """Days that a run has begun, in order."""
    folder = os.path.join(root, DAYS)
    return [Day(root, name) for name in storage.names_in(folder) if is_date(name)]


def is_date(name: str) -> bool:
    """Whether a folder is named after a day."""
    try:
        return datetime.date.fromisoformat(name).isoformat() == name
    except ValueError:
        return False


def days_between(earlier: str, later: str) -> int:
    """Days from one date to another."""
    return (datetime.date.fromisoformat(later) - datetime.date.fromisoformat(earlier)).days


def read_json(path: str) -> dict[str, Any]:
    """Contents of a file that `write_json` wrote."""
    return contents.object_of(path, "delete it, and its step is done again")


def write_json(path: str, values: dict[str, Any]) -> None:
    """Writes a file whole or not at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    storage.write(path, [(json.dumps(values, indent=1) + "\n").encode()])
