"""Command: python -m serving.predict --server=URL --input_dir=RAW --predictions=FILE.

Sends the rows of a raw log to TensorFlow Serving, or to the local server, and writes their scores in input order.
"""

from __future__ import annotations

import csv
import itertools
import os
import sys
from collections.abc import Iterable

from absl import app, flags
from tqdm import tqdm

import storage
from features import names, raw_requests, schema_file
from features.raw_log import log_files
from features.raw_requests import RawLogError
from features.schema import SchemaError
from serving.client import ClientOptions, Scored, ScoringClient, ScoringError
from serving.saved_model_files import SIGNATURES
from storage import ownership

FLAGS = flags.FLAGS

HEADER = (names.SAMPLE_ID, *names.SCORES)


def define_flags() -> None:
    """Defines the flags; only the command calls this, since another command may import the module."""
    default = ClientOptions()
    flags.DEFINE_string("server", None, "URL of the server, such as http://127.0.0.1:8501.", required=True)
    flags.DEFINE_string("input_dir", None, "Folder of the raw log.", required=True)
    flags.DEFINE_string("predictions", None, "CSV file to write: sample_id,pctr,pcvr,pctcvr.", required=True)
    flags.DEFINE_string("split", names.TEST, "Split of the log.")
    flags.DEFINE_string("schema", "aliccp", "Schema of the log: a file, or the name of a bundled one.")
    flags.DEFINE_enum("input_format", names.ALICCP, names.INPUT_FORMATS, "Format of the log.")
    flags.DEFINE_string("model_name", "default", "Name of the model on the server.")
    flags.DEFINE_integer("model_version", None, "Version of the model; the server's newest unless given.", 0)
    flags.DEFINE_enum("signature", default.signature, SIGNATURES, "Signature to call.")
    flags.DEFINE_integer("concurrency", default.concurrency, "Calls under way at the same time.", 1)
    flags.DEFINE_integer("max_candidates", 1000, "Impressions in a call; larger requests are sent in pieces.", 1)
    flags.DEFINE_integer("max_requests", 0, "Score only so many requests from the start of the log; 0: all.", 0)
    flags.DEFINE_float("timeout_seconds", default.timeout_seconds, "Time for an answer.", 0.001)
    flags.DEFINE_integer("attempts", default.attempts, "How often a call is tried when the server is busy or away.", 1)
    flags.DEFINE_integer(
        "max_broken_rows", 0, "Rows that may be unreadable, and are left out, before it is an error.", 0
    )


class BrokenRows:
    """Counts the rows that cannot be read, and tells the first ones."""

    TOLD = 10

    def __init__(self, limit: int) -> None:
        self.count = 0
        self._limit = limit

    def add(self, error: RawLogError) -> None:
        """Counts a row. Raises its error where it is one too many."""
        self.count += 1
        if self.count > self._limit:
            raise error
        if self.count <= self.TOLD:
            print(f"left out: {error}", file=sys.stderr)


def write_predictions(scored: Iterable[Scored], path: str) -> int:
    """Writes the scores, one row for each impression, and returns how many.

    The file gets its name when it is complete, so that a run that was stopped leaves none.
    """
    temporary = f"{path}.tmp-{os.getpid()}"
    count = 0
    try:
        with (
            open(temporary, "w", encoding="utf-8", newline="") as file,
            tqdm(unit=" impressions", unit_scale=True, disable=None) as progress,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(HEADER)
            for one in scored:
                columns = (one.request.sample_ids, *(one.scores[name] for name in names.SCORES))
                writer.writerows(zip(*columns, strict=True))
                count += len(one.request.sample_ids)
                progress.update(len(one.request.sample_ids))
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
    return count


def predict() -> str:
    """Does what the flags say; returns a summary."""
    storage.refuse_overlap({"predictions": FLAGS.predictions}, {"input_dir": FLAGS.input_dir})
    ownership.refuse_foreign_file(FLAGS.predictions, ",".join(HEADER).encode(), "predictions")
    loaded = schema_file.load(FLAGS.schema)
    schema = log_files.resolved(loaded, FLAGS.input_dir, [FLAGS.split], FLAGS.input_format)
    names_of_options = ("signature", "concurrency", "timeout_seconds", "attempts")
    options = ClientOptions(version=FLAGS.model_version, **{name: FLAGS[name].value for name in names_of_options})
    client = ScoringClient(FLAGS.server, FLAGS.model_name, schema, options)
    broken = BrokenRows(FLAGS.max_broken_rows)
    requests = raw_requests.read(
        FLAGS.input_dir, FLAGS.split, schema, FLAGS.input_format, broken.add, FLAGS.max_candidates
    )
    if FLAGS.max_requests:
        requests = itertools.islice(requests, FLAGS.max_requests)
    count = write_predictions(client.score_all(requests), FLAGS.predictions)
    left_out = f", {broken.count} unreadable rows left out" if broken.count else ""
    return f"{FLAGS.predictions}: scores of {count} impressions{left_out}"


def run(argv: list[str]) -> None:
    """Writes the file of scores that the flags ask for."""
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag: flags are of the form --name=value")
    try:
        print(predict())
    except (RawLogError, SchemaError, ScoringError, OSError, ValueError) as error:
        sys.exit(f"serving.predict: {error}")


def main() -> None:
    """Entry point of the console command."""
    define_flags()
    app.run(run)


if __name__ == "__main__":
    main()
