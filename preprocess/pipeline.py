"""The Beam pipeline: five steps, each a list of tasks that workers do on their own, then a plan of the next.

What passes between steps through Beam is small (names of files, counts): Beam's local runners keep in memory whatever
passes a GroupByKey. The rows pass through files below the output folder, on storage that all workers share.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import apache_beam as beam

from preprocess import vocabulary_builder
from preprocess.job import Job
from preprocess.join import duplicates, partition_joiner
from preprocess.read import block_parser, inputs
from preprocess.write import rejected_writer, shard_writer

FINISHED = "finished.plan"


@dataclasses.dataclass(frozen=True)
class Step:
    """A step of the job.

    Attributes:
        label: of the step's transforms.
        work: does one task: (job, task) -> result. May run twice for a task, and writes files whole.
        plan: (job, results) -> tasks of the next step. Runs once all tasks are done.
    """

    label: str
    work: Callable[[Job, Any], Any]
    plan: Callable[[Job, Sequence[Any]], Sequence[Any]]


def finish(job: Job, written: Sequence[rejected_writer.WrittenRejects]) -> list[None]:
    """Keeps the results of the last step."""
    job.save(FINISHED, sorted(written, key=lambda found: found.file_index))
    return []


STEPS = (
    Step("ParseBlocks", block_parser.parse_block, duplicates.plan_routing),
    Step("RouteSampleIds", duplicates.route, duplicates.plan_search),
    Step("FindDuplicates", duplicates.search, duplicates.plan_join),
    Step("JoinPartitions", partition_joiner.join_partition, vocabulary_builder.plan_ranges),
    Step("MergeCounts", vocabulary_builder.merge_range, vocabulary_builder.plan_records),
    Step("WriteRecords", shard_writer.write_shard, rejected_writer.plan_rejected),
    Step("WriteRejected", rejected_writer.write_rejected, finish),
)


def first_tasks(job: Job) -> list[inputs.Block]:
    """Tasks of the first step: all blocks of the input."""
    return [block for file in job.files for block in inputs.blocks(file, job.options.block_size)]


def build(root: beam.Pipeline, job: Job) -> beam.PCollection:
    """Adds the steps to a pipeline."""
    tasks = root | "Blocks" >> beam.Create(_numbered(first_tasks(job)))
    for step in STEPS:
        tasks = tasks | step.label >> RunStep(job, step)
    return tasks


class RunStep(beam.PTransform):
    """Numbered tasks of a step to numbered tasks of the next."""

    def __init__(self, job: Job, step: Step) -> None:
        super().__init__()
        self._job = job
        self._step = step

    def expand(self, tasks: beam.PCollection) -> beam.PCollection:
        """Adds the transforms."""
        return (
            tasks
            # By number, not by hash or chance: every worker gets as many tasks.
            | "SpreadTasks" >> beam.GroupByKey()
            | "Work" >> beam.FlatMap(_work, self._job, self._step)
            | "GatherResults" >> beam.GroupByKey()
            | "PlanNext" >> beam.FlatMap(_plan, self._job, self._step)
        )


def _work(numbered: tuple[int, Iterable[Any]], job: Job, step: Step) -> list[tuple[int, Any]]:
    return [(0, None if task is None else step.work(job, task)) for task in numbered[1]]


def _plan(gathered: tuple[int, Iterable[Any]], job: Job, step: Step) -> list[tuple[int, Any]]:
    results = [result for result in gathered[1] if result is not None]
    job.save(done_at(step), time.time())
    return _numbered(step.plan(job, results))


def _numbered(tasks: Sequence[Any]) -> list[tuple[int, Any]]:
    """Tasks with numbers. A step without tasks gets an empty one, so that its plan runs."""
    return list(enumerate(tasks)) or [(0, None)]


def done_at(step: Step) -> str:
    """Name of the object that holds the time at which all tasks of a step were done."""
    return f"{step.label}.time"


def run_in_process(job: Job) -> None:
    """Runs the steps one task after another without Beam: for tests of what the tasks compute."""
    tasks: Sequence[Any] = first_tasks(job)
    for step in STEPS:
        results = [step.work(job, task) for task in tasks]
        job.save(done_at(step), time.time())
        tasks = step.plan(job, results)
