"""Kills and starves the commands at seeded random moments and looks at what is left: the table of docs/reliability.md.

python benchmarks/faults.py --folder=DIR [--stage=publish,preprocess,...] [--moments=200] [--seed=1] [--seconds=270]

publish, preprocess, train, export, serve: kill -9, every other one while output is put in place or checkpoints are
written, the rest anywhere in a run. disk, read_only: preprocess, train and export in turn on a small filesystem in
memory, which needs root. changing: the log is written to while preprocess reads it. What was found is kept in
DIR/results: the same command goes on where it stopped. Status 1: something was lost; 3: there are moments left.
"""

from __future__ import annotations

import argparse
import collections
import functools
import os
import random
import sys
import time
from collections.abc import Callable

from killing import children, killer, stages, starving
from killing.killer import LOST, Results
from killing.place import Place

KILLED = {stage.name: stage for stage in (stages.Publish, stages.Preprocess, stages.Train, stages.Export, stages.Serve)}
_LEFT = 3


def starve(name: str, place: Place, results: Results, moments: int, seed: int, until: float) -> None:
    """Goes on to so many moments of disk, read_only or changing."""
    states: dict[str, Callable[[random.Random, int], str]] = {
        "disk": functools.partial(_on_small_disk, place, False),
        "read_only": functools.partial(_on_small_disk, place, True),
        "changing": starving.Changing(place).state,
    }
    for number in range(len(results.moments), moments):
        if time.monotonic() > until:
            return
        results.add(number=number, state=states[name](random.Random(f"{seed} {name} {number}"), number))


def _on_small_disk(place: Place, read_only: bool, dice: random.Random, number: int) -> str:
    command = starving.COMMANDS[number % len(starving.COMMANDS)]
    starved = starving.Starved(place, command)
    state = starved.on_read_only() if read_only else starved.on_full_disk(dice)
    return LOST if state == LOST else f"{command} {state}"


STARVED = ("disk", "read_only", "changing")


def summary(name: str, results: Results, moments: int) -> str:
    """A line of the table."""
    states = collections.Counter(moment["state"] for moment in results.moments)
    told = "; ".join(f"{count} {state}" for state, count in sorted(states.items()))
    kinds = "".join(
        f", {results.count(**{kind: True})} {text}"
        for kind, text in (
            ("late", "while things were put in place"),
            ("fresh", "of commands started anew"),
            ("alone", "of the process alone"),
            ("rerun", "with a rerun to the end"),
        )
        if name in KILLED
    )
    of = "" if len(results.moments) >= moments else f" of {moments}"
    return f"{name}: {len(results.moments)}{of} moments{kinds}: {told}; {states[LOST] or 'nothing'} lost"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--stage", default=",".join((*KILLED, *STARVED)))
    parser.add_argument("--moments", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="Stop behind the moment at hand then.")
    given = parser.parse_args()
    until = time.monotonic() + given.seconds
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    place = Place(os.path.abspath(given.folder))
    children.adopt_orphans()
    status = 0
    for name in given.stage.split(","):
        results = Results(place.path(f"results/{name}-{given.seed}.jsonl"))
        if name in KILLED:
            killer.kill_again_and_again(KILLED[name](place), place, results, given.moments, given.seed, until)
        else:
            starve(name, place, results, given.moments, given.seed, until)
        print(summary(name, results, given.moments), flush=True)
        status = max(status, 1 if results.count(state=LOST) else 0) or (
            _LEFT if len(results.moments) < given.moments else 0
        )
    sys.exit(status)


if __name__ == "__main__":
    main()
