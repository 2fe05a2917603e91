"""Runs the days that are not done, each step once. What is done is told by files: a killed run goes on where it was."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable

import storage
from daily import commands, processes, served
from daily import day as days
from daily.day import Day
from daily.options import Options
from storage import lock, ownership

COMMAND = "python -m daily"
PUBLISH = "publish"

Say = Callable[[str], None]


class StepError(ValueError):
    """A step's command that ended with an error; it said itself what is wrong."""


def run(options: Options, say: Say) -> None:
    """Runs every day of the log that is not done.

    Args:
        options: of the run.
        say: prints a line.

    Raises:
        StepError: a command failed. What was done stays, and the next run goes on there.
        ValueError, OSError: a folder cannot be used.
    """
    found = days.of_log(options)
    if options.dry_run:
        _print_commands(options, found, say)
        return
    storage.refuse_overlap({"output_root": options.output_root}, {"log_root": options.log_root})
    ownership.claim(options.output_root, COMMAND, "output_root")
    with lock.held(options.output_root, COMMAND, "output_root"):
        for day in found:
            if day.done(PUBLISH):
                continue
            if later := _later_than(day):
                say(f"{day.date}: passed over: {later} is done already, and an older model must not follow it")
                continue
            parent = parent_of(day)
            _run_day(options, day, parent, say)
            _publish(options, day, say)
            _clear(options, say)


def parent_of(day: Day) -> Day | None:
    """The last day before it whose model was accepted."""
    before = [other for other in days.made(day.root) if other.date < day.date and other.accepted()]
    return before[-1] if before else None


def _later_than(day: Day) -> str:
    """The date of a later day that is done; empty: none."""
    dates = [other.date for other in days.made(day.root) if other.date > day.date and other.done(PUBLISH)]
    return dates[0] if dates else ""


def _run_day(options: Options, day: Day, parent: Day | None, say: Say) -> None:
    say(f"{day.date}: " + (f"goes on from {parent.date}" if parent else "starts from nothing"))
    for step, command in commands.of_day(options, day, parent).items():
        if day.done(step):
            continue
        if step == commands.PREPROCESS and os.path.exists(os.path.join(day.data, "_SUCCESS")):
            # Killed between the end of the step and its note: a complete output is not made again.
            day.mark_done(step, {"command": command})
            continue
        started = time.monotonic()
        if processes.run(command):
            raise StepError(f"{day.date}: {step} failed; the next run goes on here. Its command: {shlex.join(command)}")
        day.mark_done(step, {"command": command, "seconds": round(time.monotonic() - started, 1)})


def _publish(options: Options, day: Day, say: Say) -> None:
    """Puts an accepted version where it is served, or leaves what is served as it is."""
    verdict = day.verdict() or {}
    if verdict.get("accepted"):
        version = day.served_as or served.next_version(options.output_root, verdict["version"])
        # First: killed in between, the next run moves it to the same place.
        days.write_json(day.gate_file, {**verdict, days.SERVED_AS: version})
        served.publish(options.output_root, verdict["version"], version)
        say(f"{day.date}: ACCEPTED, served as {version}")
    else:
        now = served.latest(options.output_root)
        say(
            f"{day.date}: REFUSED, {'; '.join(verdict['reasons'])}; "
            + (f"{now} stays served" if now else "none served")
        )
    day.mark_done(PUBLISH, {"accepted": bool(verdict.get("accepted"))})


def _clear(options: Options, say: Say) -> None:
    """Removes data and models of old days, and old versions; from what is served one can go on, rolled back too."""
    done = [day for day in days.made(options.output_root) if day.done(PUBLISH)]
    parents = [day for day in done if day.accepted()][-options.keep :]
    for day in done[: -options.keep]:
        if day not in parents and day.remove_bulk():
            say(f"{day.date}: data and model removed (--keep={options.keep}); its decision stays")
    served.keep_newest(options.output_root, options.keep)


def _print_commands(options: Options, found: list[Day], say: Say) -> None:
    """Commands of the days that are not done, as if each were accepted."""
    parent = None
    for day in found:
        if day.done(PUBLISH):
            parent = day if day.accepted() else parent
            continue
        parent = parent or parent_of(day)
        for step, command in commands.of_day(options, day, parent).items():
            if not day.done(step):
                say(shlex.join(command))
        parent = day


def rollback(options: Options, say: Say) -> None:
    """Takes the newest version out of service; its day counts as refused, so the next goes on from the one before.

    Raises:
        ValueError: there is no version to go back to.
    """
    if not os.path.isdir(options.output_root):
        raise ValueError(f"--output_root={options.output_root}: no folder there, so nothing is served from it")
    ownership.refuse_foreign(options.output_root, COMMAND, "output_root")
    with lock.held(options.output_root, COMMAND, "output_root"):
        withdrawn, now = served.last_two(options.output_root)
        if options.dry_run:
            say(f"{withdrawn} would be withdrawn, and {now} served again")
            return
        for day in days.made(options.output_root):
            if day.served_as == withdrawn:
                # First: killed in between, the next --rollback withdraws the same version.
                _refuse_afterwards(day)
                say(f"{day.date}: withdrawn; {now} is served again")
        served.withdraw(options.output_root, withdrawn)


def _refuse_afterwards(day: Day) -> None:
    verdict = day.verdict() or {}
    reason = "withdrawn by --rollback"
    reasons = [*(other for other in verdict.get("reasons", []) if other != reason), reason]
    days.write_json(day.gate_file, {**verdict, "accepted": False, "reasons": reasons})
