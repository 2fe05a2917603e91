"""Beam options: the runner and how many workers it has."""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
    _BeamArgumentParser,
)

from preprocess import pipeline
from preprocess.job import Job
from preprocess.options import OptionsError
from storage import process

# Named in full: "DirectRunner" chooses among several runners, and one of them it would first have to download.
_LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_LOCAL_NAMES = frozenset({None, "DirectRunner", _LOCAL_RUNNER})
_MODE_FLAG = "--direct_running_mode"


# How Beam reports an expected error of a task: the last line of a traceback. Others are bugs, and shown in full.
_WORKER_ERROR = re.compile(
    r"(?:^|\n)(?:[\w.]+\.)?(?:OSError|\w*(?:Write|Remote|File|Permission|Directory|Input|Overflow|TooManyIds|Vocabulary)"
    r"\w*Error): "
    r"(?P<message>[^\n]+(?:\n[^\n]+)*?) \[while running '(?P<step>\w+)[^']*'\]\s*$"
)

_OWN_ERROR = re.compile(r"^(?P<message>[^\0]+) \[while running '(?P<step>\w+)[^']*'\]$")


class TaskError(ValueError):
    """A task that failed in a worker; the message is that of the error there."""


def beam_options(arguments: Sequence[str]) -> PipelineOptions:
    """Beam's options of the command line; local runs use all cores unless the options say otherwise.

    Raises:
        OptionsError: an argument that is neither a flag of the job nor, in a local run, an option of Beam.
    """
    options = PipelineOptions(list(arguments))
    if options.view_as(StandardOptions).runner in _LOCAL_NAMES:
        _refuse_unknown(arguments)
        options.view_as(WorkerOptions).default_sdk_harness_log_level = "CRITICAL"
        options.view_as(StandardOptions).runner = _LOCAL_RUNNER
        direct = options.view_as(DirectOptions)
        if not any(argument.startswith("--direct_num_workers") for argument in arguments):
            direct.direct_num_workers = process.cores()
        if not any(argument.startswith(_MODE_FLAG) for argument in arguments):
            # Arrow, NumPy and zlib release the interpreter's lock, and threads start two seconds sooner than processes.
            direct.direct_running_mode = "multi_threading" if direct.direct_num_workers != 1 else "in_memory"
    options.view_as(SetupOptions).save_main_session = False
    return options


def run(job: Job, options: PipelineOptions) -> None:
    """Runs the pipeline to its end."""
    root = beam.Pipeline(options=options)
    pipeline.build(root, job)
    try:
        with _without_worker_output():
            root.run().wait_until_finish()
    except (RuntimeError, OSError, ValueError) as error:
        # Workers send a traceback as text; a run without workers raises the error itself, with the step added.
        pattern = _WORKER_ERROR if isinstance(error, RuntimeError) else _OWN_ERROR
        found = pattern.search(str(error).strip())
        if found is None:
            raise
        raise TaskError(f"{found['message']} (in step {found['step']})") from error


@contextlib.contextmanager
def _without_worker_output() -> Iterator[None]:
    """Keeps worker threads quiet: they log and print every error before the run fails with the same error."""
    logging.disable(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _refuse_unknown(arguments: Sequence[str]) -> None:
    parser = _BeamArgumentParser(add_help=False)
    for kind in PipelineOptions.__subclasses__():
        kind._add_argparse_args(parser)
    _, unknown = parser.parse_known_args(list(arguments))
    if unknown:
        raise OptionsError(f"{' '.join(unknown)}: no flag of this job (see --help) and no option of Beam")
