"""Beam options: the runner and how many workers it has."""

from __future__ import annotations

import os
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, SetupOptions, StandardOptions

from preprocess import pipeline
from preprocess.job import Job

# Named in full: "DirectRunner" chooses among several runners, and one of them it would first have to download.
_LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_LOCAL_NAMES = frozenset({None, "DirectRunner", _LOCAL_RUNNER})
_MODE_FLAG = "--direct_running_mode"


def beam_options(arguments: Sequence[str]) -> PipelineOptions:
    """Beam's options of the command line; local runs use all cores unless the options say otherwise."""
    options = PipelineOptions(list(arguments))
    if options.view_as(StandardOptions).runner in _LOCAL_NAMES:
        options.view_as(StandardOptions).runner = _LOCAL_RUNNER
        direct = options.view_as(DirectOptions)
        if not any(argument.startswith("--direct_num_workers") for argument in arguments):
            direct.direct_num_workers = len(os.sched_getaffinity(0))
        if not any(argument.startswith(_MODE_FLAG) for argument in arguments):
            # Arrow, NumPy and zlib release the interpreter's lock, and threads start two seconds sooner than processes.
            direct.direct_running_mode = "multi_threading" if direct.direct_num_workers != 1 else "in_memory"
    options.view_as(SetupOptions).save_main_session = False
    return options


def run(job: Job, options: PipelineOptions) -> None:
    """Runs the pipeline to its end."""
    root = beam.Pipeline(options=options)
    pipeline.build(root, job)
    root.run().wait_until_finish()
