"""Numbered tasks on Beam's workers, and a plan of the next ones when all are done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import apache_beam as beam

from preprocess.job import Job
from preprocess.steps import Step

# What passes between transforms: a number to group by, and anything. Named to Beam, whose guesses differ between
# transforms, so that no Flatten meets elements that are encoded in two ways.
NUMBERED = tuple[int, Any]

Work = Callable[[Job, Step, int, Any], Any]
Plan = Callable[[Job, Step, Sequence[Any]], Sequence[Any]]


def no_tasks(root: beam.Pipeline) -> beam.PCollection:
    """What stands for the results of a step without tasks: it has none, and yet is followed by another."""
    return root | "NoTasks" >> _created([(0, None)])


def numbered(root: beam.Pipeline, label: str, tasks: Sequence[Any]) -> beam.PCollection:
    """The tasks of the first step."""
    return root | label >> _created(list(enumerate(tasks)))


def _created(pairs: list[tuple[int, Any]]) -> beam.PTransform:
    # A grouping follows, which spreads them over the workers.
    return beam.Create(pairs, reshuffle=False).with_output_types(NUMBERED)


class RunTasks(beam.PTransform):
    """Numbered tasks of a step, and `no_tasks`, to numbered tasks of the next."""

    def __init__(self, job: Job, step: Step, work: Work, plan: Plan) -> None:
        super().__init__()
        self._job, self._step = job, step
        self._work, self._plan = work, plan

    def expand(self, collections: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        """Adds the transforms."""
        tasks, nothing = collections
        results = (
            tasks
            # By number, not by hash or chance: every worker gets as many tasks.
            | "SpreadTasks" >> beam.GroupByKey()
            | "Work" >> beam.FlatMap(_work, self._job, self._step, self._work).with_output_types(NUMBERED)
        )
        return (results, nothing) | "PlanNext" >> PlanTasks(self._job, self._step, self._plan)


class PlanTasks(beam.PTransform):
    """Results of a step's tasks, each in a pair with 0, and `no_tasks`, to numbered tasks of the next."""

    def __init__(self, job: Job, step: Step, plan: Plan) -> None:
        super().__init__()
        self._job, self._step, self._plan = job, step, plan

    def expand(self, collections: tuple[beam.PCollection, beam.PCollection]) -> beam.PCollection:
        """Adds the transforms."""
        return (
            collections
            | beam.Flatten()
            | "GatherResults" >> beam.GroupByKey()
            | "Plan" >> beam.FlatMap(_plan, self._job, self._step, self._plan).with_output_types(NUMBERED)
        )


def _work(numbered: tuple[int, Iterable[Any]], job: Job, step: Step, work: Work) -> list[tuple[int, Any]]:
    number, tasks = numbered
    # A result is in a list: None is what stands for no task.
    return [(0, [work(job, step, number, task)]) for task in tasks]


def _plan(gathered: tuple[int, Iterable[Any]], job: Job, step: Step, plan: Plan) -> list[tuple[int, Any]]:
    results = [result for found in gathered[1] if found is not None for result in found]
    return list(enumerate(plan(job, step, results)))
