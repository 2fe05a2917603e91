"""Numbered tasks on Beam's workers, and a plan of the next ones when all are done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import apache_beam as beam

from preprocess.job import Job
from preprocess.steps import Step

Work = Callable[[Job, Step, int, Any], Any]
Plan = Callable[[Job, Step, Sequence[Any]], Sequence[Any]]


class RunTasks(beam.PTransform):
    """Numbered tasks of a step to numbered tasks of the next."""

    def __init__(self, job: Job, step: Step, work: Work, plan: Plan) -> None:
        super().__init__()
        self._job, self._step = job, step
        self._work, self._plan = work, plan

    def expand(self, tasks: beam.PCollection) -> beam.PCollection:
        """Adds the transforms."""
        return (
            tasks
            # By number, not by hash or chance: every worker gets as many tasks.
            | "SpreadTasks" >> beam.GroupByKey()
            | "Work" >> beam.FlatMap(_work, self._job, self._step, self._work)
            | "PlanNext" >> PlanTasks(self._job, self._step, self._plan)
        )


class PlanTasks(beam.PTransform):
    """Results of a step's tasks, each in a pair with 0, to numbered tasks of the next."""

    def __init__(self, job: Job, step: Step, plan: Plan) -> None:
        super().__init__()
        self._job, self._step, self._plan = job, step, plan

    def expand(self, results: beam.PCollection) -> beam.PCollection:
        """Adds the transforms."""
        nothing = results.pipeline | "NoTasks" >> beam.Create([(0, None)])
        return (
            (results, nothing)
            # A step without tasks has no results, and yet is followed by another.
            | beam.Flatten()
            | "GatherResults" >> beam.GroupByKey()
            | "Plan" >> beam.FlatMap(_plan, self._job, self._step, self._plan)
        )


def _work(numbered: tuple[int, Iterable[Any]], job: Job, step: Step, work: Work) -> list[tuple[int, Any]]:
    number, tasks = numbered
    # A result is in a list: None is what stands for no task.
    return [(0, [work(job, step, number, task)]) for task in tasks]


def _plan(gathered: tuple[int, Iterable[Any]], job: Job, step: Step, plan: Plan) -> list[tuple[int, Any]]:
    results = [result for found in gathered[1] if found is not None for result in found]
    return list(enumerate(plan(job, step, results)))
