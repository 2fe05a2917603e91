"""Command: python -m serving.skew --log=REQUEST_LOG --data_dir=OUT. Whether a model is asked what it was trained on.

REQUEST_LOG is what a server was asked: TFRecords of PredictionLog (the format of TensorFlow Serving's request logging
and of the warm-up file), or JSON lines, each the body of a columnar call (`{"inputs": {...}}`). Each field is compared
with the records of OUT: how many contexts or impressions have it, how many of its values the vocabulary does not know,
and how far the values' distributions are apart (population stability index). Ends with status 1 where one is too far.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator

from absl import app, flags

import storage
from model_fn import quiet_tensorflow

quiet_tensorflow.import_quietly()

from features import names, vocabulary
from serving.field_counts import FieldCounts, Pair, of_records, of_requests, psi
from storage import contents

FLAGS = flags.FLAGS
_JSON_SUFFIX = (".json", ".jsonl")


def define_flags() -> None:
    """Defines the flags."""
    flags.DEFINE_list("log", None, "Files of served requests, or globs of them, comma separated.", required=True)
    flags.DEFINE_string("data_dir", None, "Folder that python -m preprocess made.", required=True)
    flags.DEFINE_string("split", names.TRAIN, "Split of its records to compare with.")
    flags.DEFINE_integer("max_records", 20_000, "Records and served requests to look at, at most.", 1)
    flags.DEFINE_float("max_psi", 0.25, "Fields whose distributions are further apart end the command with status 1.")


def compare() -> list[Pair]:
    """What the flags ask for: each field as it was served and as it was trained."""
    known = vocabulary.load(names.vocabulary_dir(FLAGS.data_dir), storage.read)
    paths = [path for pattern in FLAGS.log for path in (_files(pattern) or [pattern])]
    served = of_requests(_requests(paths), known, FLAGS.max_records)
    records = _files(names.records_pattern(FLAGS.data_dir, FLAGS.split))
    if not records:
        raise ValueError(f"--data_dir={FLAGS.data_dir}: no records of split {FLAGS.split}")
    trained = of_records(records, known, FLAGS.max_records)
    unknown = _unknown_shares()
    return [
        Pair(field, served[field.name], trained[field.name], unknown.get(field.name))
        for field in known.schema.id_fields
    ]


def _requests(paths: list[str]) -> Iterator[dict[str, list]]:
    """The inputs of columnar calls, by name."""
    from serving import warm_up

    for path in paths:
        if path.endswith(_JSON_SUFFIX):
            yield from _json_lines(path)
            continue
        if not storage.exists(path):
            raise ValueError(f"--log: no file {path}")
        for call in warm_up.calls_of_file(path):
            if warm_up.is_columnar(call):
                yield {name: array.tolist() for name, array in call.inputs.items()}


def _json_lines(path: str) -> Iterator[dict[str, list]]:
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            yield _inputs(line, f"{path}, line {number}")


def _inputs(line: str, place: str) -> dict[str, list]:
    try:
        return {str(name): list(values) for name, values in json.loads(line)["inputs"].items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{place}: no body of a columnar call ({error!r:.100})") from error


def _files(pattern: str) -> list[str]:
    return [path for path, _ in storage.list_files(pattern)]


def _unknown_shares() -> dict[str, float]:
    """Share of unknown values of each field by the job's report: the records of a field with many lack them."""
    path = storage.join(FLAGS.data_dir, names.REPORT_DIR, names.REPORT_JSON)
    if not storage.exists(path):
        return {}
    with contents.taken_apart(path, "run the preprocess job again"):
        fields = json.loads(storage.read(path))["fields"]
        return {name: found["splits"].get(FLAGS.split, {}).get("unknown_share") for name, found in fields.items()}


def table(pairs: list[Pair]) -> list[str]:
    """Lines for the terminal."""
    lines = [f"{'field':16} {'coverage':>17} {'mean length':>15} {'unknown':>15} {'PSI':>7}   served / trained"]
    for pair in pairs:
        served, trained = pair.served, pair.trained
        unknown = "     -" if pair.unknown_trained is None else f"{pair.unknown_trained:6.1%}"
        lines.append(
            f"{pair.field.name:16} {served.coverage:7.1%} / {trained.coverage:7.1%} {served.mean_length:6.1f} /"
            f" {trained.mean_length:6.1f} {served.unknown_share:6.1%} / {unknown} {psi(served, trained):7.3f}"
        )
    return lines


def run(argv: list[str]) -> None:
    """Prints the comparison that the flags ask for."""
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag: flags are of the form --name=value")
    try:
        pairs = compare()
    except (OSError, ValueError) as error:
        sys.exit(f"serving.skew: {storage.told(error)}")
    empty: list[FieldCounts] = [pair.served for pair in pairs if not pair.served.rows]
    if len(empty) == len(pairs):
        sys.exit("serving.skew: no columnar call in the log")
    print("\n".join(table(pairs)))
    if far := [pair.field.name for pair in pairs if psi(pair.served, pair.trained) > FLAGS.max_psi]:
        sys.exit(f"serving.skew: further apart than --max_psi={FLAGS.max_psi:g}: {', '.join(far)}")


def main() -> None:
    """Entry point of the console command."""
    if hasattr(signal, "SIGPIPE"):
        # Where `head` has read enough, this ends as other commands do.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    define_flags()
    app.run(run)


if __name__ == "__main__":
    main()
