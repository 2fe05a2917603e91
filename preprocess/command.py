"""One run from start to end: what `__main__` calls with flags, and tests and notebooks with options."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from features import names, schema_file, vocabulary
from features.schema import Schema
from preprocess import output_folder, partition, progress, runner, sample_requests, vocabulary_builder
from preprocess.job import Job
from preprocess.options import Options, OptionsError
from preprocess.read import inputs
from preprocess.report import report
from preprocess.write import rejected_writer


class TooManyRejectsError(ValueError):
    """More rejected rows than --max_rejected allows."""


def run(
    options: Options, beam_arguments: Sequence[str] = (), execute: Callable[[Job], None] | None = None
) -> report.Report:
    """Runs the job.

    Args:
        options: settings.
        beam_arguments: Beam's own options, as on a command line.
        execute: runs the steps instead of Beam; for tests.

    Raises:
        TooManyRejectsError: more rows were rejected than allowed. The rejected rows and the report are written.
        OptionsError, InputError, OutputError, SchemaError, OSError: with what is wrong and where.
    """
    started = time.time()
    beam_options = runner.beam_options(beam_arguments)
    job = make_job(options)
    if execute:
        execute(job)
    else:
        with progress.shown(job):
            runner.run(job, beam_options)
    if options.vocabulary:
        vocabulary_builder.save_folder(job.load_vocabulary(), job.path(names.VOCABULARY_DIR))
    sample_requests.write(job)
    made = report.collect(job, started)
    accepted = made.rejected_share <= options.max_rejected
    report.write(made, job.path(names.REPORT_DIR))
    rejected_writer.write_counts(job, made.rejected)
    parts = {names.REPORT_DIR: names.REPORT_DIR, rejected_writer.ROWS_DIR: names.REJECTED_DIR}
    if accepted:
        parts |= {name: name for name in (*options.splits, names.VOCABULARY_DIR)}
    output_folder.publish(options, job.folder, parts, accepted)
    if not accepted:
        raise TooManyRejectsError(report.describe_rejects(made, options))
    return made


def make_job(options: Options) -> Job:
    """The job of the options: finds the input, checks the schema and prepares the output folder."""
    schema = load_schema(options)
    files = inputs.find(options, schema)
    return Job(options, schema, tuple(files), partition.plan(files, options), output_folder.prepare(options))


def load_schema(options: Options) -> Schema:
    """The schema of the options; it must be the vocabulary's where one is given."""
    schema = schema_file.load(options.schema)
    if options.vocabulary:
        loaded = vocabulary.load(options.vocabulary)
        known = loaded.schema
        if loaded.drops_unknown != (options.oov == vocabulary.OOV_DROP):
            built = vocabulary.OOV_DROP if loaded.drops_unknown else vocabulary.OOV_BUCKET
            raise OptionsError(
                f"--oov={options.oov}: --vocabulary={options.vocabulary} was built with --oov={built}, and its models "
                f"expect that; give --oov={built}"
            )
        if known != schema:
            raise OptionsError(
                f"--vocabulary={options.vocabulary}: was built for schema {known.name}, whose fields or columns differ "
                f"from --schema={options.schema}; give --schema={options.vocabulary}/{names.SCHEMA_FILE}"
            )
    return schema
