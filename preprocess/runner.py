"""Beam's runners: by which name each is chosen, with how many workers, and what its errors say."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import (
    DirectOptions,
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    SparkRunnerOptions,
    StandardOptions,
    WorkerOptions,
    _BeamArgumentParser,
)
from apache_beam.runners import create_runner
from apache_beam.runners.portability.fn_api_runner import worker_handlers

from preprocess import pipeline
from preprocess.job import Job
from preprocess.options import OptionsError
from storage import process

# Named in full: "DirectRunner" chooses among several runners, and one of them it would first have to download.
_LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_LOCAL_NAMES = frozenset({None, "DirectRunner", _LOCAL_RUNNER})
# Beam knows its other runners by their names.
_FULL_NAMES = {"DaskRunner": "apache_beam.runners.dask.dask_runner.DaskRunner"}
# These ask a job server which options the engine has beside Beam's.
_PORTABLE_NAMES = frozenset({"PortableRunner", "FlinkRunner", "SparkRunner"})
# Beam's runner inside this process, in the place of an address.
_EMBEDDED = "embed"
# Beam itself waits five minutes without a word.
_ANSWER_SECONDS = 30.0
_MODE_FLAG = "--direct_running_mode"

# How Beam reports an error of a task: the last line of a worker's traceback, wherever the engine quotes it.
_WORKER_ERROR = re.compile(
    r"(?:^|\n)\s*(?:RuntimeError: )?(?:[\w.]+\.)?(?P<kind>\w*(?:Error|Exception|Problem)): "
    r"(?P<message>[^\n]+(?:\n[^\n]+)*?) \[while running '(?P<step>\w+)[^']*'\]"
)
# These are a user's to mend. Others are bugs, and shown in full.
_EXPECTED = re.compile(
    r"^OSError$|Write|Remote|File|Permission|Directory|Input|Overflow|TooManyIds|SharedId|Vocabulary"
)
_OWN_ERROR = re.compile(r"^(?P<message>[^\0]+) \[while running '(?P<step>\w+)[^']*'\]$")


class _Parser(_BeamArgumentParser):
    """Beam's, which raises an error in place of printing all options and ending the process."""

    def error(self, message: str) -> NoReturn:
        """Raises OptionsError."""
        raise OptionsError(message.removeprefix("argument "))


class TaskError(ValueError):
    """A task that failed in a worker; the message is that of the error there."""


class EngineError(ValueError):
    """An engine that cannot be reached, or that gave the job up; the message says what it said."""


class JobOptions(PipelineOptions):
    """Beam's options that are refused where neither Beam nor the engine knows them, instead of being passed over."""

    def get_all_options(
        self, drop_default: bool = False, add_extra_args_fn: Callable[[Any], None] | None = None, **more: Any
    ) -> dict[str, Any]:
        """See PipelineOptions. With the engine's own options given, the others are refused.

        Raises:
            OptionsError: an option that nobody knows.
        """
        if add_extra_args_fn:
            _refuse_unknown(self._flags, add_extra_args_fn)
        found: dict[str, Any] = super().get_all_options(
            drop_default=drop_default, add_extra_args_fn=add_extra_args_fn, **more
        )
        return found


def beam_options(arguments: Sequence[str]) -> PipelineOptions:
    """Beam's options of the command line; local runs use all cores unless the options say otherwise.

    Raises:
        OptionsError: an argument that is neither a flag of the job nor an option of Beam. Where a job server has
            options of its own, it is asked before it is refused, in `run`.
    """
    options = JobOptions(list(arguments))
    # First of all: what Beam cannot read, it answers with a list of its options and the end of the process.
    _unknown_of(arguments)
    standard = options.view_as(StandardOptions)
    standard.runner = _FULL_NAMES.get(standard.runner, standard.runner)
    if standard.runner == _FULL_NAMES["DaskRunner"]:
        _import_dask_options()
    if standard.runner not in _PORTABLE_NAMES:
        _refuse_unknown(arguments)
    _refuse_unknown_runner(standard.runner)
    if is_local(options):
        options.view_as(WorkerOptions).default_sdk_harness_log_level = "CRITICAL"
        standard.runner = _LOCAL_RUNNER
        direct = options.view_as(DirectOptions)
        if not any(argument.startswith("--direct_num_workers") for argument in arguments):
            direct.direct_num_workers = process.cores()
        if direct.direct_num_workers < 0:
            raise OptionsError(f"--direct_num_workers={direct.direct_num_workers}: allowed is 0 (all cores) or more")
        if not any(argument.startswith(_MODE_FLAG) for argument in arguments):
            # Arrow, NumPy and zlib release the interpreter's lock, and threads start two seconds sooner than processes.
            direct.direct_running_mode = "multi_threading" if direct.direct_num_workers != 1 else "in_memory"
    options.view_as(SetupOptions).save_main_session = False
    return options


def _import_dask_options() -> None:
    """Makes Beam know Dask's options: they are defined where its runner is."""
    try:
        importlib.import_module("apache_beam.runners.dask.dask_runner")
    except ImportError as error:
        raise OptionsError(f"--runner=DaskRunner: needs Dask ({error}); pip install 'entire-space[dask]'") from error


def is_local(options: PipelineOptions) -> bool:
    """Whether the job runs in this process and its children, without an engine."""
    return options.view_as(StandardOptions).runner in _LOCAL_NAMES


def place(options: PipelineOptions) -> str:
    """Where the job runs, for the terminal: the runner and the address of the engine."""
    name = str(options.view_as(StandardOptions).runner).rpartition(".")[2]
    endpoint = options.view_as(PortableOptions).job_endpoint
    addresses = {
        "FlinkRunner": endpoint or options.view_as(FlinkRunnerOptions).flink_master,
        "SparkRunner": endpoint or options.view_as(SparkRunnerOptions).spark_master_url,
        "PortableRunner": endpoint,
        "DaskRunner": options.get_all_options().get("dask_client_address"),
    }
    address = addresses.get(name)
    return f"{name} at {address}" if address else name


def run(job: Job, options: PipelineOptions, through_engine: bool | None = None) -> None:
    """Runs the pipeline to its end.

    Args:
        job: the run.
        options: of Beam.
        through_engine: whether rows go through the runner's shuffle; None: unless the runner is the local one.

    Raises:
        TaskError: a task failed by a fault of input, output or settings.
        EngineError: the engine cannot be reached, or gave up.
    """
    # It warns of the end of a job server that has done its work.
    logging.getLogger("apache_beam.utils.subprocess_server").setLevel(logging.ERROR)
    _flush_streams_by_size_alone()
    _refuse_silent_job_server(options)
    root = beam.Pipeline(options=options)
    pipeline.build(root, job, not is_local(options) if through_engine is None else through_engine)
    try:
        with _without_worker_output():
            root.run().wait_until_finish()
    except OptionsError:
        raise
    except (RuntimeError, OSError, ValueError) as error:
        _raise_plainly(error, options)


def _flush_streams_by_size_alone() -> None:
    """Keeps the local runner from losing elements.

    Beam would flush each stream between it and its workers once a second as well, from another thread, with no lock
    against the one that writes: what is written until the buffer is emptied is gone, or is cut within an element.
    """
    worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = 0


def _refuse_silent_job_server(options: PipelineOptions) -> None:
    endpoint = options.view_as(PortableOptions).job_endpoint
    if is_local(options) or endpoint in (None, "", _EMBEDDED):
        return
    with grpc.insecure_channel(endpoint) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_ANSWER_SECONDS)
        except grpc.FutureTimeoutError as error:
            raise EngineError(
                f"{place(options)}: no job server has answered there for {_ANSWER_SECONDS:.0f} seconds; start it, or "
                "correct --job_endpoint"
            ) from error


def _raise_plainly(error: Exception, options: PipelineOptions) -> None:
    """Raises what a failed run says in one line, where it is not a bug.

    Workers send a traceback as text; a run without workers raises the error itself, with the step added.
    """
    text = str(error).strip()
    found = _WORKER_ERROR.search(text)
    if found is not None and _EXPECTED.search(found["kind"]):
        raise TaskError(f"{found['message']} (in step {found['step']})") from error
    if not isinstance(error, RuntimeError) and (own := _OWN_ERROR.search(text)):
        raise TaskError(f"{own['message']} (in step {own['step']})") from error
    if found is None and not is_local(options):
        raise EngineError(f"{place(options)}: {text.splitlines()[0] if text else type(error).__name__}") from error
    raise error


@contextlib.contextmanager
def _without_worker_output() -> Iterator[None]:
    """Keeps worker threads quiet: they log and print every error before the run fails with the same error."""
    logging.disable(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _refuse_unknown(arguments: Sequence[str], add_more: Callable[[Any], None] | None = None) -> None:
    if unknown := _unknown_of(arguments, add_more):
        raise OptionsError(f"{' '.join(unknown)}: no flag of this job (see --help) and no option of Beam")


def _unknown_of(arguments: Sequence[str], add_more: Callable[[Any], None] | None = None) -> list[str]:
    """The arguments that Beam does not know. Raises OptionsError for a value that it cannot read."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    for kind in PipelineOptions.__subclasses__():
        kind._add_argparse_args(parser)
    if add_more:
        add_more(parser)
    return list(parser.parse_known_args(list(arguments))[1])


def _refuse_unknown_runner(name: str | None) -> None:
    """Before anything is read or written. Raises OptionsError."""
    if name in _LOCAL_NAMES:
        return
    try:
        create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise OptionsError(f"--runner={name}: {error}") from error
