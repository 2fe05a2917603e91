"""Kills a command again and again at seeded moments, and keeps what each time was found in a file."""

from __future__ import annotations

import collections
import glob
import json
import os
import pathlib
import random
import sys
import time
from typing import Protocol

from killing.children import Child
from killing.place import Place

LOST = "LOST"

# Of each so many moments one is of a command that was really started, its loading of libraries included; after one
# the command is run again to its end; at one the process alone is killed, and those that it started run on.
_FRESH_EVERY = 20
_RERUN_EVERY = 5
_ALONE_EVERY = 4


class Stage(Protocol):
    """A command that is killed.

    Attributes:
        name: of the stage.
        starts_anew: whether some of the moments are of a command that loads its libraries itself.
        late: globs of what a run makes when it puts things in place; none: all moments fall anywhere.
        late_changes: so many things come to fit the globs in a run.
        late_seconds: a kill falls at most so long after one of them.
    """

    name: str
    starts_anew: bool
    late: tuple[str, ...]
    late_changes: int
    late_seconds: float

    def prepare(self) -> float:
        """Makes what the command needs; returns the seconds that a forked run takes."""

    def start(self, fresh: bool) -> Child: ...

    def look(self) -> str:
        """The state that a kill left, or LOST."""

    def is_whole_after_rerun(self) -> bool:
        """Runs the command again, to its end. Whether it made what it makes and left nothing of the killed runs."""


class Results:
    """One line for each moment, in a file: a run that was cut short goes on behind it."""

    def __init__(self, path: str) -> None:
        self._path = path
        os.makedirs(os.path.dirname(path), exist_ok=True)
        file = pathlib.Path(path)
        self.moments: list[dict] = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def add(self, **moment: object) -> None:
        self.moments.append(moment)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(moment) + "\n")

    def states(self) -> collections.Counter[str]:
        return collections.Counter(moment["state"] for moment in self.moments)

    def count(self, **wanted: object) -> int:
        """Moments that have these values."""
        return sum(all(moment.get(name) == value for name, value in wanted.items()) for moment in self.moments)


def kill_again_and_again(stage: Stage, place: Place, results: Results, moments: int, seed: int, until: float) -> None:
    """Goes on to so many moments, or until the clock (time.monotonic) has reached `until`."""
    if len(results.moments) >= moments:
        return
    seconds = stage.prepare()
    for number in range(len(results.moments), moments):
        if time.monotonic() > until:
            return
        dice = random.Random(f"{seed} {stage.name} {number}")
        fresh = stage.starts_anew and number % _FRESH_EVERY == _FRESH_EVERY - 1
        alone = number % _ALONE_EVERY == 1
        late = bool(stage.late) and bool(number % 2) and not fresh
        printed = _killed(stage, dice, late, seconds + (place.loading if fresh else 0), fresh, alone)
        state = stage.look()
        rerun = number % _RERUN_EVERY == _RERUN_EVERY - 1 and state != LOST
        if rerun:
            state = state if stage.is_whole_after_rerun() else LOST
        if state == LOST:
            print(f"{stage.name}, moment {number}: lost; what the command had printed:\n{printed}", file=sys.stderr)
        results.add(number=number, fresh=fresh, late=late, alone=alone, rerun=rerun, state=state)


def _killed(stage: Stage, dice: random.Random, late: bool, seconds: float, fresh: bool, alone: bool) -> str:
    """Starts the command and kills it. Returns what it had printed."""
    known = _matches(stage)
    child = stage.start(fresh)
    if late:
        _wait_for_changes(stage, child, known, dice.randint(1, stage.late_changes))
        time.sleep(dice.uniform(0, stage.late_seconds))
    else:
        _sleep(child, dice.uniform(0, seconds))
    child.kill(alone)
    return child.text()


def _sleep(child: Child, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not child.ended() and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 0.05))


def _matches(stage: Stage) -> set[str]:
    return {path for pattern in stage.late for path in glob.glob(pattern)}


def _wait_for_changes(stage: Stage, child: Child, known: set[str], changes: int) -> None:
    seen = set(known)
    while not child.ended() and len(seen) < len(known) + changes:
        seen |= _matches(stage)
        time.sleep(0.001)
