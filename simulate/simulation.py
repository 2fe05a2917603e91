"""Writes a simulated log: six files, what came out, and where the broken rows are."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from typing import Any, BinaryIO

from tqdm import tqdm

from features import names
from simulate import malformed
from simulate import times as times_of
from simulate.calendar import Calendar
from simulate.exposure import Requests, World
from simulate.interest import Interest
from simulate.log_format import TIMES_HEADER, TRUTH_HEADER, Lines, LogFormat
from simulate.malformed import CONTEXT_ROW, IMPRESSION_ROW, Defect, Placement
from simulate.options import Options
from simulate.summary import Summary
from storage import ownership

SIMULATION_FILE = "simulation.json"
MALFORMED_FILE = "malformed.json"
TEMPORARY_SUFFIX = ".tmp"
# So that days can be read together: no two impressions of a split have one id.
SAMPLE_IDS_OF_DAY = 10**9
_COMMAND = "python -m simulate"

# E_O[p_conversion] / E_D[p_conversion] = exp(covariance of the two logits) where rates are small, so that a logit is a
# logarithm, and effects as well: at strengths of 1.8 it says 5.05 where 2.88 comes out.
LARGEST_EXPONENT = 0.5
LARGEST_RATE = 0.1


class OutputExistsError(FileExistsError):
    """The output folder holds something already."""


def simulate(options: Options, output_dir: str, overwrite: bool = False, progress: bool = False) -> dict[str, Any]:
    """Writes a log.

    Files appear under their names when all of them are complete, simulation.json last.

    Args:
        options: what log.
        output_dir: folder to write to; made if missing.
        overwrite: whether it may hold files already; those of an earlier log are replaced.
        progress: whether to show a bar on standard error.

    Returns:
        The contents of simulation.json.

    Raises:
        OutputExistsError: the folder is not empty, and overwrite is not set.
    """
    _prepare(output_dir, overwrite)
    world = World(options)
    return _write_whole(_Writer(options, output_dir, progress, world, Interest(world)))


def simulate_days(
    options: Options, calendar: Calendar, output_dir: str, overwrite: bool = False, progress: bool = False
) -> dict[str, dict[str, Any]]:
    """Writes a log for each day of a world into a folder named after its date.

    Args:
        options: what log; its requests are those of a mean day.
        calendar: what days.
        output_dir: gets the folders.
        overwrite: whether it may hold files already.
        progress: whether to show a bar on standard error.

    Returns:
        The contents of each folder's simulation.json, by date.
    """
    folders = {day: os.path.join(output_dir, calendar.date(day).isoformat()) for day in range(calendar.days)}
    _prepare(output_dir, overwrite)
    world = World(options, calendar)
    interest = Interest(world)
    reports = {}
    for day, folder in folders.items():
        os.makedirs(folder, exist_ok=True)
        requests = max(1, calendar.requests(day, options.requests))
        that_day = dataclasses.replace(
            options, requests=requests, test_requests=calendar.requests(day, options.test_requests)
        )
        reports[os.path.basename(folder)] = _write_whole(_Writer(that_day, folder, progress, world.on(day), interest))
    return reports


def _prepare(output_dir: str, overwrite: bool) -> None:
    os.makedirs(output_dir, exist_ok=True)
    if os.listdir(output_dir) and not overwrite:
        raise OutputExistsError(f"{output_dir} is not empty: name another --output_dir, or give --overwrite")
    # Also with --overwrite: a log of this shape may be a real one.
    ownership.claim(output_dir, _COMMAND, "output_dir")


def _write_whole(writer: _Writer) -> dict[str, Any]:
    try:
        return writer.write()
    except BaseException:
        writer.discard()
        raise


class _File:
    """A file under a temporary name that counts its lines."""

    def __init__(self, output_dir: str, name: str) -> None:
        self.name = name
        self.path = os.path.join(output_dir, name)
        self.temporary = self.path + TEMPORARY_SUFFIX
        self.lines = 0
        self.bytes = 0
        self._file: BinaryIO = open(self.temporary, "wb")  # noqa: SIM115 (closed by close)

    def write(self, data: bytes | memoryview, lines: int) -> None:
        self._file.write(data)
        self.lines += lines
        self.bytes += len(data)

    def close(self) -> None:
        self._file.close()


@dataclasses.dataclass(frozen=True)
class _Broken:
    """A broken line that goes before the `index`-th line of a chunk."""

    index: int
    line: bytes
    row: str
    defect: Defect


class _Writer:
    def __init__(self, options: Options, output_dir: str, progress: bool, world: World, interest: Interest) -> None:
        self._options = options
        self._output_dir = output_dir
        self._files: list[_File] = []
        self._listed: list[dict[str, Any]] = []
        self._world = world
        self._interest = interest
        self._format = LogFormat(self._world.catalog)
        self._plan = malformed.plan(options, lambda split, at: int(self._world.lengths(split, at, at + 1)[0]))
        requests = options.requests + options.test_requests
        self._bar = tqdm(total=requests, unit=" requests", disable=not progress, desc="simulate", mininterval=1)

    def write(self) -> dict[str, Any]:
        splits = {
            names.TRAIN: self._write_split(names.TRAIN, self._options.requests),
            names.TEST: self._write_split(names.TEST, self._options.test_requests),
        }
        self._bar.close()
        report = {**_described(self._options, self._interest), **self._described_day(), "splits": splits}
        if self._options.malformed:
            self._write_json(MALFORMED_FILE, sorted(self._listed, key=lambda row: (row["file"], row["offset"])))
        self._write_json(SIMULATION_FILE, report)
        self._publish()
        return report

    def _described_day(self) -> dict[str, Any]:
        calendar, day = self._world.calendar, self._world.day
        if calendar is None:
            return {}
        return {"calendar": dataclasses.asdict(calendar), "day": day, "date": calendar.date(day).isoformat()}

    def discard(self) -> None:
        """Removes what was written so far."""
        self._bar.close()
        for file in self._files:
            file.close()
            if os.path.exists(file.temporary):
                os.remove(file.temporary)

    def _write_split(self, split: str, requests: int) -> dict[str, Any]:
        skeleton = self._open(names.skeleton_file(split))
        common = self._open(names.common_file(split))
        truth = self._open(names.truth_file(split))
        truth.write(TRUTH_HEADER, 1)
        times = self._open_times(split)
        summary = Summary()
        for start in range(0, requests, self._options.chunk_requests):
            stop = min(requests, start + self._options.chunk_requests)
            self._write_chunk(split, start, stop, summary, (skeleton, common, truth, times))
            self._bar.set_postfix(split=split, impressions=summary.impressions, refresh=False)
            self._bar.update(stop - start)
        sizes = {"skeleton_bytes": skeleton.bytes, "common_bytes": common.bytes}
        return {**summary.report(), **sizes}

    def _open_times(self, split: str) -> _File | None:
        calendar = self._world.calendar
        if calendar is None or not calendar.conversion_delay_days:
            return None
        times = self._open(names.times_file(split))
        times.write(TIMES_HEADER, 1)
        return times

    def _write_chunk(
        self, split: str, start: int, stop: int, summary: Summary, files: tuple[_File, _File, _File, _File | None]
    ) -> None:
        skeleton, common, truth_file, times_file = files
        first_id = self._world.day * SAMPLE_IDS_OF_DAY + summary.impressions + 1
        keys = self._world.context_keys(split, start, stop)
        requests = self._world.draw(split, start, stop)
        truth = self._interest.truth(requests)
        summary.add(stop - start, truth)
        impression_lines = self._format.skeleton_lines(requests, truth, first_id, keys)
        context_lines = self._format.common_lines(requests, keys)
        truth_lines = self._format.truth_lines(truth, first_id)
        truth_file.write(truth_lines.data, len(truth.click))
        if times_file is not None and self._world.calendar is not None:
            times = times_of.draw(requests, self._options.seed, self._world.calendar)
            times_file.write(self._format.times_lines(times, truth, first_id).data, len(truth.click))
        self._write_lines(
            skeleton, impression_lines, self._broken_impressions(split, start, requests, impression_lines)
        )
        self._write_lines(common, context_lines, self._broken_contexts(split, start, stop, context_lines))

    def _broken_impressions(self, split: str, start: int, requests: Requests, lines: Lines) -> list[_Broken]:
        """Broken rows for a chunk of sample_skeleton, whose first line is of request `start`."""
        firsts = requests.lengths.cumsum() - requests.lengths
        broken = []
        for placed in self._placed(split, IMPRESSION_ROW, start, start + len(firsts)):
            first = int(firsts[placed.request - start])
            good = lines.line(first)
            first_id = int(good[: good.index(b",")])
            row = malformed.broken_impression(placed, good, first_id)
            broken.append(_Broken(first + placed.impression, row, IMPRESSION_ROW, placed.defect))
        return broken

    def _broken_contexts(self, split: str, start: int, stop: int, lines: Lines) -> list[_Broken]:
        """Broken rows for a chunk of common_features."""
        broken = []
        for placed in self._placed(split, CONTEXT_ROW, start, stop):
            earlier_key = self._world.context_keys(split, placed.earlier, placed.earlier + 1)[0]
            at = placed.request - start
            row = malformed.broken_context(placed, lines.line(at), earlier_key)
            broken.append(_Broken(at + 1, row, CONTEXT_ROW, placed.defect))
        return broken

    def _placed(self, split: str, row: str, start: int, stop: int) -> list[Placement]:
        return [placed for placed in self._plan.get((split, row), []) if start <= placed.request < stop]

    def _write_lines(self, file: _File, lines: Lines, broken: list[_Broken]) -> None:
        """Writes lines with broken ones between them, and notes where those are."""
        written = 0
        for each in broken:
            file.write(lines.data[lines.starts[written] : lines.starts[each.index]], each.index - written)
            written = each.index
            place = {"file": file.name, "line": file.lines + 1, "offset": file.bytes}
            kind = {"reason": each.defect.reason, "row": each.row, "detail": each.defect.detail}
            self._listed.append({**place, **kind})
            file.write(each.line, 1)
        file.write(lines.data[lines.starts[written] :], len(lines.starts) - 1 - written)

    def _open(self, name: str) -> _File:
        file = _File(self._output_dir, name)
        self._files.append(file)
        return file

    def _write_json(self, name: str, content: object) -> None:
        file = self._open(name)
        file.write(json.dumps(content, indent=1).encode() + b"\n", 1)

    def _publish(self) -> None:
        """Gives the files their names; what an earlier log left goes first, so that two logs never mix."""
        for name in (SIMULATION_FILE, MALFORMED_FILE):
            if os.path.exists(os.path.join(self._output_dir, name)):
                os.remove(os.path.join(self._output_dir, name))
        for file in self._files:
            file.close()
            os.replace(file.temporary, file.path)


def _described(options: Options, interest: Interest) -> dict[str, Any]:
    """Parameters, the intercepts found and, where it holds, the selection bias that the closed form predicts."""
    parameters = dataclasses.asdict(options)
    del parameters["chunk_requests"]  # changes nothing that is written
    described = {"parameters": parameters, "alpha": interest.alpha, "beta": interest.beta}
    exponent = options.rho * options.click_strength * options.conversion_strength * math.sqrt(1 - options.kappa**2)
    exponent += options.gamma**2 + options.hidden_interaction**2
    small = abs(exponent) <= LARGEST_EXPONENT and max(options.click_rate, options.conversion_rate) <= LARGEST_RATE
    if small and not options.non_monotone:
        described["closed_form_bias_ratio"] = round(math.exp(exponent), 6)
    return described
