"""The Beam pipeline: a few steps, each a list of tasks that workers do on their own, then a plan of the next.

Rows go between the steps through files or through the engine's shuffle; see `preprocess.exchange`.
"""

from __future__ import annotations

import apache_beam as beam

from preprocess import engine_steps, file_steps
from preprocess.job import Job


def build(root: beam.Pipeline, job: Job, through_engine: bool) -> None:
    """Adds the job to a pipeline.

    Args:
        root: the pipeline.
        job: the run.
        through_engine: whether rows go through the engine's shuffle.
    """
    (engine_steps if through_engine else file_steps).build(root, job)
