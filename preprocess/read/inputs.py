"""The files of a job's log, checked against its schema before anything is read of their rows."""

from __future__ import annotations

from features import names
from features.raw_log import log_files
from features.raw_log.log_files import Block, InputError
from features.raw_log.log_files import LogFile as InputFile
from features.schema import ID, Schema
from preprocess.options import Options

__all__ = ["Block", "InputError", "InputFile", "find"]

blocks = log_files.blocks


def find(options: Options, schema: Schema) -> tuple[list[InputFile], list[str]]:
    """The files of the log, numbered through, and a line for each other file that is there.

    Files of splits that are not asked for are among them, without blocks, so that a sample id that is made of a row's
    place does not depend on --splits.

    Raises:
        ValueError: a file that is of no split or of two, a split without files, a file whose columns or types do not
            fit the schema.
    """
    if options.input_format == names.ALICCP:
        _check_ids_alone(options, schema)
        _check_labels_alone(options, schema)
    files, not_read = log_files.find(options.input_dir, options.splits, options.input_format)
    _check_test_from(options, schema, files)
    _check_window(options, schema)
    if options.input_format != names.ALICCP:
        files = [log_files.described(file, schema) if file.is_read else file for file in files]
        if not any(file.columns for file in files):
            raise InputError(f"--input_dir={options.input_dir}: all files are empty")
    return files, not_read


def _check_test_from(options: Options, schema: Schema, files: list[InputFile]) -> None:
    """A log is split by time only where rows have one, and where its files do not split it already."""
    if not options.test_from:
        return
    if not schema.columns.time or options.input_format == names.ALICCP:
        raise InputError(
            f"--test_from={options.test_from}: --schema={options.schema} names no column with the time of a row; give "
            "it columns: {time: COLUMN}"
        )
    if named := [file.path for file in files if file.split]:
        raise InputError(
            f"--test_from={options.test_from}: {named[0]} is named for a split already; leave --test_from away, or "
            "rename the files"
        )


def _check_window(options: Options, schema: Schema) -> None:
    """Conversions can be told by their times only where rows have them."""
    for flag, purpose, needed in (
        ("conversion_window", "click_time", "click_time: COLUMN, conversion_time: COLUMN"),
        ("hold_back", "time", "time: COLUMN"),
    ):
        if getattr(options, flag) and (not getattr(schema.columns, purpose) or options.input_format == names.ALICCP):
            raise InputError(
                f"--{flag}={getattr(options, flag)}: --schema={options.schema} does not name the times that it needs; "
                f"give it columns: {{{needed}}}, in a log of CSV or Parquet"
            )


def _check_ids_alone(options: Options, schema: Schema) -> None:
    if words := [field.name for field in schema.fields if field.type != ID]:
        raise InputError(
            f"--schema={options.schema}: {', '.join(words)} not of type id; "
            f"--input_format={names.ALICCP} has ids alone, take {names.CSV} or {names.PARQUET}"
        )


def _check_labels_alone(options: Options, schema: Schema) -> None:
    """Rows of Ali-CCP's form have no columns beside click and conversion that a record could hold."""
    for purpose in ("weight", "user", "conversion_time"):
        if column := getattr(schema.columns, purpose):
            raise InputError(
                f"--schema={options.schema}: columns: {purpose}: {column}; --input_format={names.ALICCP} has no such "
                f"column, leave it out or take {names.CSV} or {names.PARQUET}"
            )
