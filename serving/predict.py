"""Command: python -m serving.predict --server=URL --input_dir=RAW --predictions=FILE.

Sends the rows of a raw log to TensorFlow Serving, or to the local server, and writes their scores in input order.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterable, Iterator

from absl import app, flags
from tqdm import tqdm

import storage
from features import names, raw_requests, schema_file
from features.raw_log import log_files
from features.raw_requests import RawLogError, RawRequest
from features.schema import SchemaError
from serving.client import PROTOCOLS, ClientOptions, ScoringClient, ScoringError
from serving.patience import Patience
from serving.saved_model_files import SIGNATURES
from serving.score_file import HEADER, PART_SUFFIX, PartFile, Rows, opened_stream
from storage import ownership

FLAGS = flags.FLAGS

# What shells give for SIGINT.
_INTERRUPTED = 130


def define_flags() -> None:
    """Defines the flags; only the command calls this, since another command may import the module."""
    default, patience = ClientOptions(), Patience()
    flags.DEFINE_string(
        "server", None, "URL of the server: http://127.0.0.1:8501, or grpc://127.0.0.1:8500.", required=True
    )
    flags.DEFINE_string("input_dir", None, "Folder of the raw log.", required=True)
    flags.DEFINE_string("predictions", None, "CSV file to write: sample_id,pctr,pcvr,pctcvr.", required=True)
    flags.DEFINE_bool("resume", False, "Go on behind the scores of a run that did not end (FILE.part).")
    flags.DEFINE_bool("with_model_version", False, "Write the model's version into a fifth column.")
    flags.DEFINE_string("split", names.TEST, "Split of the log.")
    flags.DEFINE_string("schema", "aliccp", "Schema of the log: a file, or the name of a bundled one.")
    flags.DEFINE_enum("input_format", names.ALICCP, names.INPUT_FORMATS, "Format of the log.")
    flags.DEFINE_enum("protocol", default.protocol, PROTOCOLS, "How to call the server.")
    flags.DEFINE_string("model_name", "default", "Name of the model on the server.")
    flags.DEFINE_integer("model_version", None, "Version of the model; the server's newest unless given.", 0)
    flags.DEFINE_enum("signature", default.signature, SIGNATURES, "Signature to call.")
    flags.DEFINE_integer("concurrency", default.concurrency, "Calls under way at the same time.", 1)
    flags.DEFINE_integer("max_candidates", 1000, "Impressions in a call; larger requests are sent in pieces.", 1)
    flags.DEFINE_integer("max_requests", 0, "Score only so many requests from the start of the log; 0: all.", 0)
    flags.DEFINE_float("timeout_seconds", default.timeout_seconds, "For a call, to the last byte of its answer.", 0.001)
    flags.DEFINE_float(
        "max_outage_seconds", patience.outage_seconds, "How long to wait for a server that is away.", 0.0
    )
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


def pieces(requests: Iterable[RawRequest], candidates: int) -> Iterator[RawRequest]:
    """The requests, those of more impressions in pieces of so many, each with the whole context."""
    for request in requests:
        for begin in range(0, len(request.sample_ids), candidates):
            part = slice(begin, begin + candidates)
            columns = {key: rows[part] for key, rows in request.impressions.items()}
            yield RawRequest(request.sample_ids[part], request.context, columns)


class _Run:
    """What the flags ask for."""

    def __init__(self) -> None:
        loaded = schema_file.load(FLAGS.schema)
        self._schema = log_files.resolved(loaded, FLAGS.input_dir, [FLAGS.split], FLAGS.input_format)
        self._broken = BrokenRows(FLAGS.max_broken_rows)
        options = ClientOptions(
            version=FLAGS.model_version,
            patience=Patience(outage_seconds=FLAGS.max_outage_seconds),
            **{name: FLAGS[name].value for name in ("protocol", "signature", "concurrency", "timeout_seconds")},
        )
        self._client = ScoringClient(FLAGS.server, FLAGS.model_name, self._schema, options)

    def requests(self) -> Iterator[RawRequest]:
        """Of the log, cut as they are sent."""
        found: Iterable[RawRequest] = raw_requests.read(
            FLAGS.input_dir, FLAGS.split, self._schema, FLAGS.input_format, self._broken.add
        )
        if FLAGS.max_requests:
            found = itertools.islice(found, FLAGS.max_requests)
        return pieces(found, FLAGS.max_candidates)

    def write(self) -> str:
        """Writes the scores; returns a summary."""
        if stream := opened_stream(FLAGS.predictions):
            with stream:
                rows = Rows(stream, FLAGS.with_model_version)
                rows.write_header()
                self._score(self.requests(), rows)
            return self._summary(rows)
        storage.refuse_overlap({"predictions": FLAGS.predictions}, {"input_dir": FLAGS.input_dir})
        ownership.refuse_foreign_file(FLAGS.predictions, ",".join(HEADER).encode(), "predictions")
        same = ("input_dir", "split", "input_format", "model_name", "model_version", "max_candidates", "max_requests")
        file = PartFile(FLAGS.predictions, {name: FLAGS[name].value for name in same}, FLAGS.resume)
        try:
            self._score(file.unscored(self.requests()), file.rows)
            file.complete(FLAGS.with_model_version)
        finally:
            file.close()
        return self._summary(file.rows)

    def _score(self, requests: Iterator[RawRequest], rows: Rows) -> None:
        with tqdm(unit=" impressions", unit_scale=True, disable=None) as progress:
            for scored in self._client.score_all(requests):
                rows.add(scored)
                progress.update(len(scored.request.sample_ids))

    def _summary(self, rows: Rows) -> str:
        text = f"{FLAGS.predictions}: scores of {rows.count} impressions"
        found = {version or "unknown": count for version, count in rows.versions.items()}
        if len(found) == 1:
            text += f" by version {next(iter(found))}"
        elif found:
            mixed = ", ".join(f"{version} ({count})" for version, count in found.items())
            text += f"; MIXED, by versions {mixed}: the model changed during the run"
        return text + (f", {self._broken.count} unreadable rows left out" if self._broken.count else "")


def run(argv: list[str]) -> None:
    """Writes the file of scores that the flags ask for."""
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag: flags are of the form --name=value")
    status = 0
    try:
        summary = _Run().write()
        print(summary, file=sys.stderr if FLAGS.predictions.startswith(("/dev/", "/proc/")) else sys.stdout)
    except (RawLogError, SchemaError, ScoringError, OSError, ValueError) as error:
        status = _told(str(error), 1)
    except KeyboardInterrupt:
        status = _told("interrupted", _INTERRUPTED)
    # Not by sys.exit, which waits for calls that are under way: up to their time-out.
    sys.stdout.flush()
    os._exit(status)


def _told(problem: str, status: int) -> int:
    part = os.path.realpath(FLAGS.predictions) + PART_SUFFIX
    hint = f"; the scores so far are in {part}: --resume goes on behind them" if os.path.exists(part) else ""
    print(f"serving.predict: {problem}{hint if PART_SUFFIX not in problem else ''}", file=sys.stderr, flush=True)
    return status


def main() -> None:
    """Entry point of the console command."""
    define_flags()
    app.run(run)


if __name__ == "__main__":
    main()
