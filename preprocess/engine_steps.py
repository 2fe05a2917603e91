"""The steps with rows that go through the engine: what tasks send are elements of its shuffle."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam

from preprocess import steps
from preprocess.exchange import engine
from preprocess.exchange.engine import EngineOutbox
from preprocess.job import Job
from preprocess.steps import Step
from preprocess.tasks import NUMBERED, PlanTasks, no_tasks, numbered

# Where results and tasks pass, beside the channels.
_RESULTS = "results"
_TASKS = "tasks"


def build(root: beam.Pipeline, job: Job) -> None:
    """Adds the steps to a pipeline."""
    tasks = numbered(root, "Blocks", steps.first_tasks(job))
    nothing = no_tasks(root)
    sent: dict[str, list[beam.PCollection]] = {}
    for step in steps.STEPS:
        received = [collection for channel in step.receives for collection in sent[channel]]
        outputs = (tasks, nothing, *received) | step.label >> _RunStep(job, step)
        tasks = outputs[_TASKS]
        for channel in step.sends:
            sent.setdefault(channel, []).append(outputs[channel])


class _RunStep(beam.PTransform):
    """Tasks of a step and what was sent to them, to what they send and the tasks of the next step."""

    def __init__(self, job: Job, step: Step) -> None:
        super().__init__()
        self._job, self._step = job, step

    def expand(self, collections: tuple[beam.PCollection, ...]) -> dict[str, beam.PCollection]:
        tasks, nothing, *received = collections
        marked = tasks | "MarkTasks" >> beam.MapTuple(_mark_task).with_output_types(NUMBERED)
        worked = (
            (marked, *received)
            | "Mix" >> beam.Flatten()
            | "Deliver" >> beam.GroupByKey()
            | "Work" >> beam.FlatMap(_work, self._job, self._step).with_output_types(tuple[str, Any])
        )
        # By filters: not every runner tells tagged outputs apart, and fused filters cost next to nothing.
        outputs = {
            channel: worked | f"Take_{channel}" >> beam.FlatMap(_of_channel, channel).with_output_types(NUMBERED)
            for channel in (_RESULTS, *self._step.sends)
        }
        planned = (outputs.pop(_RESULTS), nothing) | "PlanNext" >> PlanTasks(self._job, self._step, _plan)
        return {_TASKS: planned, **outputs}


def _mark_task(number: int, task: Any) -> tuple[int, tuple[str, Any]]:
    return number, (_TASKS, task)


def _plan(job: Job, step: Step, results: Sequence[Any]) -> Sequence[Any]:
    return steps.plan(job, step, [result for _, result in sorted(results, key=lambda pair: pair[0])])


def _work(delivered: tuple[int, Iterable[tuple[str, Any]]], job: Job, step: Step) -> Iterator[tuple[str, Any]]:
    """Does the task of a key, if it has one. Gives what was sent and then the result, each with its channel."""
    number, values = delivered
    place = steps.STEPS.index(step)
    with engine.delivered(values, _TASKS) as (tasks, inbox):
        for task in tasks:
            with contextlib.closing(EngineOutbox()) as outbox:
                result = step.work(job, task, inbox, outbox)
                for channel, (key, letter) in outbox.letters(place, number):
                    yield channel, (key, (channel, letter))
            yield _RESULTS, (0, [(number, result)])


def _of_channel(output: tuple[str, Any], channel: str) -> list[Any]:
    return [output[1]] if output[0] == channel else []
