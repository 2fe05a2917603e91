"""One run from start to end: what `__main__` calls with flags, and tests and notebooks with options."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

import storage
from features import names, schema_file, vocabulary
from features.raw_log import log_files
from features.schema import Schema
from preprocess import partition, progress, runner, sample_requests, steps, stores, vocabulary_folder
from preprocess.generations import fields
from preprocess.job import Job
from preprocess.options import Options, OptionsError
from preprocess.read import inputs
from preprocess.read.inputs import InputError, InputFile
from preprocess.report import report
from preprocess.write import rejected_writer
from storage import publish
from storage.publish import Output

COMMAND = "python -m preprocess"


class TooManyRejectsError(ValueError):
    """More rejected rows than --max_rejected allows."""


class UselessOutputError(ValueError):
    """An output of which nothing can be learnt."""


def run(
    options: Options, beam_arguments: Sequence[str] = (), execute: Callable[[Job], None] | None = None
) -> report.Report:
    """Runs the job.

    Args:
        options: settings.
        beam_arguments: Beam's own options, as on a command line.
        execute: runs the steps instead of Beam; for tests.

    Raises:
        TooManyRejectsError: more rows were rejected than allowed. The rejected rows and the report are written beside
            the output, which stays what it was.
        UselessOutputError: nothing can be learnt of the output; likewise.
        OptionsError, InputError, OutputError, LockedError, SchemaError, OSError: with what is wrong and where.
    """
    started = time.time()
    beam_options = runner.beam_options(beam_arguments)
    stores.apply(beam_options)
    _refuse_overlap(options)
    schema = load_schema(options)
    files, not_read = inputs.find(options, schema)
    versions = _versions(files)
    with publish.making(
        options.output_dir, COMMAND, "output_dir", options.overwrite, options.keep_temporary, _say
    ) as output:
        plan = partition.plan(files, options)
        job = Job(options, schema, tuple(files), plan, output.temporary, tuple(not_read))
        if execute:
            execute(job)
        else:
            with progress.shown(job, "" if runner.is_local(beam_options) else runner.place(beam_options)):
                runner.run(job, beam_options)
        _refuse_changed(files, versions)
        return _publish(job, output, started)


def _versions(files: Sequence[InputFile]) -> list[str]:
    return [storage.version(file.path) if file.is_read else "" for file in files]


def _refuse_changed(files: Sequence[InputFile], versions: list[str]) -> None:
    """A file that was written to is one of which no one knows what was read. Raises InputError."""
    for file, before in zip(files, versions, strict=True):
        if file.is_read and (not storage.exists(file.path) or storage.version(file.path) != before):
            raise InputError(f"{file.path}: changed while it was read; run again once it is whole, or on a copy of it")


def _publish(job: Job, output: Output, started: float) -> report.Report:
    """Makes what is still missing, and puts all in place only then."""
    options = job.options
    if options.vocabulary:
        vocabulary_folder.copy(options.vocabulary, job.path(names.VOCABULARY_DIR))
    sample_requests.write(job)
    made = report.collect(job, started)
    report.write(made, job.path(names.REPORT_DIR))
    rejected_writer.write_counts(job, made.rejected)
    parts = {names.REPORT_DIR: names.REPORT_DIR, names.REJECTED_DIR: rejected_writer.ROWS_DIR}
    if made.rejected_share > options.max_rejected:
        failed = output.leave(parts)
        raise TooManyRejectsError(report.describe_rejects(made, options, failed))
    if made.faults and not options.keep_useless:
        failed = output.leave(parts)
        raise UselessOutputError(report.describe_faults(made, failed))
    parts |= {split: job.records_dir(split) for split in options.splits}
    output.publish({**parts, names.VOCABULARY_DIR: names.VOCABULARY_DIR}, _promised(job))
    return made


def _promised(job: Job) -> list[str]:
    """Files below the run's folder that the steps have told of, and that are not read again before the output is."""
    paths = [shard.path for shard in job.load(rejected_writer.RECORDS)]
    for written in job.load(steps.FINISHED):
        paths += rejected_writer.paths(job, written.file_index) if written.rows else ()
    if not job.options.vocabulary:
        paths += vocabulary_folder.paths(job.vocabulary_dir)
    return [path.removeprefix(job.path("")) for path in paths]


def _say(line: str) -> None:
    print(f"preprocess: {line}", file=sys.stderr)


def _refuse_overlap(options: Options) -> None:
    schema = "" if options.schema in schema_file.bundled_names() else options.schema
    inputs_ = {
        "input_dir": options.input_dir,
        "vocabulary": options.vocabulary,
        "previous_vocabulary": options.previous_vocabulary,
        "schema": schema,
    }
    storage.refuse_overlap({"output_dir": options.output_dir}, inputs_)


def load_schema(options: Options) -> Schema:
    """The schema of the options; it must be the vocabulary's where one is given."""
    loaded_schema = schema_file.load(options.schema)
    schema = log_files.resolved(loaded_schema, options.input_dir, options.splits, options.input_format)
    if options.previous_vocabulary:
        loaded = _vocabulary(options, "previous_vocabulary")
        _refuse_other_oov(options, loaded, "previous_vocabulary")
        fields.refuse_unannounced(options, loaded.schema, schema)
    if options.vocabulary:
        loaded = _vocabulary(options, "vocabulary")
        known = loaded.schema
        _refuse_other_oov(options, loaded, "vocabulary")
        if known != schema:
            raise OptionsError(
                f"--vocabulary={options.vocabulary}: was built for schema {known.name}, whose fields or columns differ "
                f"from --schema={options.schema}; give --schema={options.vocabulary}/{names.SCHEMA_FILE}"
            )
    return schema


def _vocabulary(options: Options, flag: str) -> vocabulary.Vocabulary:
    folder = getattr(options, flag)
    try:
        return vocabulary_folder.load_checked(folder)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise OptionsError(
            f"--{flag}={folder}: no vocabulary ({storage.told(error)}); name the folder {names.VOCABULARY_DIR} of an "
            "output"
        ) from error


def _refuse_other_oov(options: Options, loaded: vocabulary.Vocabulary, flag: str) -> None:
    """Raises OptionsError where --oov is not what the vocabulary's models expect."""
    if loaded.drops_unknown == (options.oov == vocabulary.OOV_DROP):
        return
    built = vocabulary.OOV_DROP if loaded.drops_unknown else vocabulary.OOV_BUCKET
    raise OptionsError(
        f"--oov={options.oov}: --{flag}={getattr(options, flag)} was built with --oov={built}, and its models expect "
        f"that; give --oov={built}"
    )
