"""Requests as they stand in a raw log, for whoever sends them to a served model. Streams; for bulk work see preprocess.

A request is a run of consecutive rows that share a context. Nothing is filtered or mapped: ids are whole numbers,
words are texts, numbers are floats, lists have the length that they have in the log. What a row means is said by
`raw_log`, for the job as for this.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import storage
from features import names
from features.raw_log import aliccp_requests, log_files, splits, table_requests
from features.raw_log.raw_rows import RawLogError, RawRow, Values
from features.raw_values import Value
from features.schema import Field, Schema
from storage import contents

__all__ = ["RawLogError", "RawRequest", "Values", "from_values", "load", "read", "to_json"]

OnBroken = Callable[[RawLogError], None]


@dataclasses.dataclass(frozen=True)
class RawRequest:
    """A context and the impressions that share it. Keys are field names and, for weighted fields, weight keys.

    Attributes:
        sample_ids: of the impressions, n of them.
        context: values of each context field; an empty list where the log has none.
        impressions: of each impression field n lists of values.
    """

    sample_ids: list[int]
    context: Values
    impressions: dict[str, list[list[Value]]]


def read(
    input_dir: str,
    split: str,
    schema: Schema,
    input_format: str,
    on_broken: OnBroken | None = None,
    max_impressions: int | None = None,
) -> Iterator[RawRequest]:
    """Streams the requests of a split in input order. Labels are not looked at, so a log without them can be read.

    Args:
        input_dir: folders or files of the log, comma-separated.
        split: train, test or any other word: see `raw_log.splits`. Of a log whose files are not named for splits all is
            read: which requests the job put into which split is its own affair.
        schema: what to read; columns and fields beside it are passed over.
        input_format: one of `names.INPUT_FORMATS`.
        on_broken: called with each row that cannot be read, which is then left out (a broken context row: its
            impressions are read without context). Without it the first such row is raised.
        max_impressions: a longer run of impressions is cut, each piece with the whole context.

    Raises:
        RawLogError: a broken row, where `on_broken` is not given.
        FileNotFoundError: no log there.
        ValueError: an unknown format, or a file that the schema does not fit.
    """
    report = on_broken or _raise
    if input_format not in names.INPUT_FORMATS:
        allowed = ", ".join(names.INPUT_FORMATS)
        raise ValueError(f"input_format {input_format!r}: allowed are {allowed}")
    try:
        files, _ = log_files.find(input_dir, [split], input_format)
    except splits.SplitError as error:
        raise FileNotFoundError(f"no {input_format} log of split {split}: {error}") from error
    read_rows = aliccp_requests.rows if input_format == names.ALICCP else table_requests.rows
    wanted = [file for file in files if file.is_read]
    return _requests(read_rows(wanted, schema, report), schema, max_impressions)


def to_json(requests: Iterable[RawRequest]) -> str:
    """JSON text of a list of requests, one request a line."""
    return "[" + ",\n".join(json.dumps(vars(request), ensure_ascii=False) for request in requests) + "]\n"


def load(path: str) -> list[RawRequest]:
    """The requests of a file that `to_json` made. Raises ContentsError."""
    with contents.taken_apart(path, "run the preprocess job again"):
        return [from_values(request) for request in _list(json.loads(storage.read(path)))]


def from_values(found: dict[str, Any]) -> RawRequest:
    """The request of an object of `to_json`'s list. Raises ValueError, TypeError or AttributeError for another one."""
    request = RawRequest(**found)
    for values in request.context.values():
        _list(values)
    for rows in request.impressions.values():
        if len(_list(rows)) != len(_list(request.sample_ids)):
            raise ValueError(f"{len(rows)} values for {len(request.sample_ids)} impressions")
    return request


def _list(found: Any) -> list[Any]:
    if not isinstance(found, list):
        raise TypeError("no list where one was expected")
    return found


def _requests(rows: Iterable[RawRow], schema: Schema, max_impressions: int | None) -> Iterator[RawRequest]:
    context_keys = _value_keys(schema.context_fields)
    impression_keys = _value_keys(schema.impression_fields)
    for _, run in itertools.groupby(rows, key=lambda row: row.request):
        context: Values = {}
        while piece := list(itertools.islice(run, max_impressions)):
            if not context:
                found = piece[0].context()
                context = {key: found.get(key, []) for key in context_keys}
            impressions = {key: [row.values.get(key, []) for row in piece] for key in impression_keys}
            yield RawRequest([row.sample_id for row in piece], context, impressions)


def _value_keys(fields: Sequence[Field]) -> list[str]:
    return [key for field in fields for key in ([field.name, field.weight_key] if field.weighted else [field.name])]


def _raise(error: RawLogError) -> None:
    raise error
