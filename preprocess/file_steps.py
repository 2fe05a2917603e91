"""The steps with rows that go through files: what passes through Beam is names and counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from preprocess import steps
from preprocess.exchange import files
from preprocess.exchange.files import FileInbox, FileOutbox, Run
from preprocess.job import Job
from preprocess.steps import Step
from preprocess.tasks import RunTasks, no_tasks, numbered


def build(root: beam.Pipeline, job: Job) -> None:
    """Adds the steps to a pipeline."""
    tasks = numbered(root, "Blocks", steps.first_tasks(job))
    nothing = no_tasks(root)
    for step in steps.STEPS:
        tasks = (tasks, nothing) | step.label >> RunTasks(job, step, work, plan)
        if wide_channels(job, step):
            tasks = (tasks, nothing) | f"Regroup{step.label}" >> RunTasks(job, step, regroup, plan_after_regrouping)


def run_in_process(job: Job) -> None:
    """Runs the steps one task after another without Beam: for tests of what the tasks compute."""
    tasks: Sequence[Any] = steps.first_tasks(job)
    for step in steps.STEPS:
        tasks = plan(job, step, [work(job, step, number, task) for number, task in enumerate(tasks)])
        if wide_channels(job, step):
            results = [regroup(job, step, number, task) for number, task in enumerate(tasks)]
            tasks = plan_after_regrouping(job, step, results)


def work(job: Job, step: Step, number: int, task: Any) -> tuple[Any, list[Run]]:
    """Does a task. Returns its result and the files of what it sent."""
    senders = {channel: tuple(step.label for step in steps.senders(channel)) for channel in step.receives}
    with FileOutbox(job, step.label, number) as outbox:
        result = step.work(job, task, FileInbox(job, number, senders), outbox)
    return result, outbox.runs


def plan(job: Job, step: Step, results: Sequence[tuple[Any, list[Run]]]) -> Sequence[Any]:
    """Writes the indices of what was sent. Tasks: the next step's, or those that regroup what was sent first."""
    runs = [run for _, sent in results for run in sent]
    for channel in step.sends:
        cells = files.layout(job, channel).buckets
        files.save_index(job, channel, step.label, cells, [run for run in runs if run.channel == channel])
    tasks = steps.plan(job, step, [result for result, _ in results])
    wide = wide_channels(job, step)
    if not wide:
        return tasks
    job.save(_next_tasks(step), list(tasks))
    return [task for channel in wide for task in files.plan_regrouping(job, channel, step.label)]


def wide_channels(job: Job, step: Step) -> list[str]:
    """Channels of a step whose files are regrouped before they are read."""
    return [channel for channel in step.sends if files.layout(job, channel).is_wide]


def regroup(job: Job, step: Step, number: int, task: files.Regrouping) -> list[Run]:
    """Does a task that regroups."""
    return files.regroup(job, number, task)


def plan_after_regrouping(job: Job, step: Step, results: Sequence[list[Run]]) -> Sequence[Any]:
    """Tasks of the step that follows."""
    runs = [run for regrouped in results for run in regrouped]
    for channel in wide_channels(job, step):
        sender, keys = files.regrouped_sender(step.label), files.layout(job, channel).keys
        files.save_index(job, channel, sender, keys, [run for run in runs if run.channel == channel])
    tasks: Sequence[Any] = job.load(_next_tasks(step))
    return tasks


def _next_tasks(step: Step) -> str:
    return f"{step.label}.next"
