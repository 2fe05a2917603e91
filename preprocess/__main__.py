"""Raw impression logs in; filtered and remapped TFRecords, a vocabulary and a report out.

python -m preprocess --input_dir=RAW --output_dir=OUT [options] [any Beam option, such as --runner=...]
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging as standard_logging
import sys
from collections.abc import Iterator

from absl import app, flags, logging

import storage
from features import names, vocabulary
from features.raw_log.splits import RULE
from preprocess import options as settings
from preprocess import stopping
from preprocess.stopping import StoppedError

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(settings.Options)}

flags.DEFINE_string("input_dir", "", "Folder of the raw log; several with commas, globs, s3://, gs:// and hdfs:// too.")
flags.DEFINE_string("output_dir", "", "Folder to make. It is complete when it holds the file _SUCCESS.")
flags.DEFINE_enum(
    "input_format",
    _DEFAULTS["input_format"],
    names.INPUT_FORMATS,
    "Form of the log: aliccp (sample_skeleton_*.csv and common_features_*.csv), csv with a header line, or parquet.",
)
flags.DEFINE_string(
    "schema", _DEFAULTS["schema"], "Schema file (YAML) that names the fields, or a bundled one: aliccp."
)
flags.DEFINE_list(
    "splits",
    list(settings.Options.splits),
    f"Splits to process. {RULE} The vocabulary is built from train.",
)
flags.DEFINE_integer("min_count", _DEFAULTS["min_count"], "Keep the ids that occur in so many impressions or more.")
flags.DEFINE_integer(
    "impressions_per_record",
    _DEFAULTS["impressions_per_record"],
    "Most impressions in a record; longer requests are cut. 0: whole requests (at most "
    f"{settings.MAX_IMPRESSIONS_PER_RECORD}). 1: the flat layout, the context repeated for each impression.",
)
flags.DEFINE_enum("compression", _DEFAULTS["compression"], settings.COMPRESSIONS, "Of the record files.")
flags.DEFINE_enum(
    "oov",
    _DEFAULTS["oov"],
    vocabulary.OOV_MODES,
    "What becomes of rare and unknown ids in a field with many ids: drop them, or keep them as the field's "
    "out-of-vocabulary id. Fields with one id always keep it.",
)
flags.DEFINE_string(
    "vocabulary",
    _DEFAULTS["vocabulary"],
    "Folder of an existing vocabulary to use: for a new day's log, or a test split alone.",
)
flags.DEFINE_string(
    "previous_vocabulary",
    _DEFAULTS["previous_vocabulary"],
    "Folder of the vocabulary of the day before: its ids stay, new ones are added.",
)
flags.DEFINE_float(
    "count_half_life_days",
    _DEFAULTS["count_half_life_days"],
    "With --previous_vocabulary: days after which a count of earlier days is half; 0: never.",
)
flags.DEFINE_float("elapsed_days", _DEFAULTS["elapsed_days"], "With --previous_vocabulary: days from its log to this.")
flags.DEFINE_float(
    "evict_below",
    _DEFAULTS["evict_below"],
    "With --previous_vocabulary: free an id whose decayed count falls below this; 0: never.",
)
flags.DEFINE_list("add_fields", [], "Fields of the schema that --previous_vocabulary does not have.")
flags.DEFINE_list("remove_fields", [], "Fields of --previous_vocabulary that the schema does not have any more.")
for _name, _text in (
    ("warn_psi", "population stability index of a field against the days before"),
    ("warn_new_share", "share of a field's values whose ids the vocabulary before did not have"),
    ("warn_coverage_change", "change of the share of impressions that have a field"),
    ("warn_rate_change", "relative change of the click rate or the conversion rate"),
):
    flags.DEFINE_float(_name, _DEFAULTS[_name], f"Warn on the terminal and in the report above this {_text}.")
flags.DEFINE_float(
    "max_rejected", _DEFAULTS["max_rejected"], "Fail if more than this share of rows is rejected (0 to 1)."
)
flags.DEFINE_bool(
    "keep_useless",
    _DEFAULTS["keep_useless"],
    "Keep an output of which nothing can be learnt (a split without rows, a label that is the same everywhere in "
    "train, no context found) instead of failing; what is wrong is said all the same.",
)
flags.DEFINE_bool(
    "overwrite",
    _DEFAULTS["overwrite"],
    "Replace a complete output of an earlier run, once the new one is complete. Until then it stays.",
)
flags.DEFINE_bool(
    "keep_temporary", _DEFAULTS["keep_temporary"], "Leave the intermediate files of a run that fails, to look at them."
)
flags.DEFINE_float(
    "test_fraction",
    _DEFAULTS["test_fraction"],
    "Share of requests that becomes the test split of a CSV or Parquet log whose files name no split.",
)
flags.DEFINE_string(
    "test_from",
    _DEFAULTS["test_from"],
    "Instead of --test_fraction: date or time (ISO 8601, UTC), such as 2026-01-07, from which on rows are the test "
    "split's. The schema names the column: columns: {time: COLUMN}.",
)
flags.DEFINE_string(
    "conversion_window",
    _DEFAULTS["conversion_window"],
    "Length of time, such as 7d or 36h: a conversion counts if it came so soon after its click. The schema names the "
    "columns: columns: {click_time: COLUMN, conversion_time: COLUMN}.",
)
flags.DEFINE_string(
    "log_cut",
    _DEFAULTS["log_cut"],
    "With --conversion_window: date or time (ISO 8601, UTC) at which the log was written. Conversions from then on do "
    "not count, and the report tells the clicks whose window was still open.",
)
flags.DEFINE_string(
    "hold_back",
    _DEFAULTS["hold_back"],
    "With --log_cut: leave out the impressions of so long before it, such as 2d, whose conversions are still to come.",
)
flags.DEFINE_bool(
    "weigh_open_clicks",
    _DEFAULTS["weigh_open_clicks"],
    "With --log_cut: a click without conversion whose window is still open counts in training as one that will convert "
    "and as one that will not, each by its chance, which follows from its age and how soon conversions come.",
)
flags.DEFINE_integer("seed", _DEFAULTS["seed"], "Of the random order of requests. Equal seeds give equal files.")
flags.DEFINE_integer(
    "shards", _DEFAULTS["shards"], "Record files of the largest split. 0: one for each 32 MiB of log, at least 8."
)
flags.DEFINE_integer("block_size", _DEFAULTS["block_size"], "Bytes of input that a worker parses at a time.")
flags.DEFINE_integer("piece_size", _DEFAULTS["piece_size"], "Bytes of parsed rows that a worker joins at a time.")

_LISTS = ("splits", "add_fields", "remove_fields")
_EXPECTED_ERRORS = (ValueError, OSError)


def main() -> None:
    """The command. Ends the process with status 1 and a message where input, output or settings are at fault."""
    app.run(_run, flags_parser=_parse)


def _parse(arguments: list[str]) -> list[str]:
    """Reads the flags defined here and leaves Beam's."""
    try:
        return flags.FLAGS(arguments, known_only=True)
    except (flags.Error, OSError) as error:
        sys.exit(f"preprocess: {storage.told(error)}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings: Beam's import gives one for each optional library that is not installed."""
    standard_logging.disable(standard_logging.WARNING)
    try:
        yield
    finally:
        standard_logging.disable(standard_logging.NOTSET)


def _run(arguments: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)
    with _quiet():
        # Imported after the flags are parsed: --help and mistakes need not wait for Beam.
        from preprocess import command
        from preprocess.report import report

    try:
        values = {name: getattr(flags.FLAGS, name) for name in _DEFAULTS}
        options = settings.Options(**{**values, **{name: tuple(values[name]) for name in _LISTS}})
        with stopping.on_signals():
            made = command.run(options, arguments[1:])
    except StoppedError as error:
        stopping.leave(f"preprocess: {error}", error.number)
    except _EXPECTED_ERRORS as error:
        sys.exit(f"preprocess: {storage.told(error)}")
    print(report.summary(made))


if __name__ == "__main__":
    main()
