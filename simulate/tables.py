"""A simulated log as tables, as shops have them: CSV or Parquet, the context in each row, and a schema file.

    python -m simulate --output_dir=LOG --requests=300 --test_requests=100
    python -m simulate.tables --input_dir=LOG --output_dir=TABLES [--form=csv] [--malformed=5]

Beside the fields of Ali-CCP a row has what such logs have and Ali-CCP lacks: a time (of a log with
--conversion_delay_days also those of click and conversion), a weight, a title of words with quotes and commas, a price
and a vector. With --malformed it has broken rows of each kind that a table can have, and
malformed.json lists them.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from absl import app, flags

import storage
from features import names, raw_requests, schema_file
from features.raw_requests import RawRequest
from features.schema import Columns, Field, Schema
from simulate import table_defects
from simulate.simulation import MALFORMED_FILE
from simulate.table_defects import (
    CLICK,
    CLICKED_AT,
    CONVERSION,
    CONVERTED_AT,
    ITEM,
    PICTURE,
    PRICE,
    SAMPLE_ID,
    SHOWN_AT,
    TITLE,
    WEIGHT,
    Cells,
    Defect,
)
from storage import ownership

VISIT = "visit"
_COMMAND = "python -m simulate.tables"
_FIRST_SECOND = 1_767_225_600  # 2026-01-01
_SECONDS_A_REQUEST = 600
_ROWS_OF_GROUP = 4096
# Members of a struct that holds a weighted value.
_PAIR = ("value", "weight")

Broken = dict[str, Any]


def schema(with_times: bool = False) -> Schema:
    """Of the tables; with the times of clicks and conversions where the log has them."""
    more = (
        Field(TITLE, "item", "impression", "one", "string"),
        Field(PRICE, "item", "impression", "one", "number", scale="standard"),
        Field(PICTURE, "item", "impression", "one", "vector", size=3),
    )
    named = Columns(CLICK, CONVERSION, VISIT, SAMPLE_ID, weight=WEIGHT, time=SHOWN_AT)
    if with_times:
        named = dataclasses.replace(named, click_time=CLICKED_AT, conversion_time=CONVERTED_AT)
    return Schema("tables", (*schema_file.load(names.ALICCP).fields, *more), named)


def write(log: str, output_dir: str, form: str, malformed: int = 0) -> list[Broken]:
    """Writes the tables of a simulated log.

    Args:
        log: folder that `python -m simulate` wrote.
        output_dir: gets train and test, schema.yaml and, with broken rows, malformed.json.
        form: csv or parquet.
        malformed: broken rows of each reason and split.

    Returns:
        The broken rows: file, offset (in bytes, or of Parquet in rows), reason and column of each.
    """
    os.makedirs(output_dir, exist_ok=True)
    if os.listdir(output_dir):
        raise FileExistsError(f"{output_dir} is not empty: name another --output_dir")
    ownership.claim(output_dir, _COMMAND, "output_dir")
    listed: list[Broken] = []
    for split in names.SPLITS:
        rows = _with_broken(_rows(log, split), form, malformed)
        path = os.path.join(output_dir, f"{split}.{form}")
        listed += (_write_csv if form == names.CSV else _write_parquet)(rows, path)
    _write_text(output_dir, names.SCHEMA_FILE, schema_file.dump(schema(_has_times(log))))
    if malformed:
        _write_text(output_dir, MALFORMED_FILE, json.dumps(listed, indent=1) + "\n")
    return listed


def _write_text(folder: str, name: str, text: str) -> None:
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write(text)


def _rows(log: str, split: str) -> Iterator[list[Cells]]:
    """Cells of the rows of each request."""
    aliccp = schema_file.load(names.ALICCP)
    labels = _labels(os.path.join(log, names.skeleton_file(split)))
    times = _times(log, split)
    for number, request in enumerate(raw_requests.read(log, split, aliccp, names.ALICCP)):
        context = {field.name: _value(field, request.context) for field in aliccp.context_fields}
        yield [
            {
                # Unlike those of other days.
                VISIT: f"v{request.sample_ids[0]}",
                SAMPLE_ID: sample_id,
                **dict(zip((CLICK, CONVERSION), next(labels), strict=True)),
                SHOWN_AT: _FIRST_SECOND + number * _SECONDS_A_REQUEST,
                **next(times),
                WEIGHT: 1.0 + number % 2,
                **context,
                **_impression(aliccp, request, place),
            }
            for place, sample_id in enumerate(request.sample_ids)
        ]


def _labels(path: str) -> Iterator[tuple[int, int]]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            _, click, conversion, _ = line.split(",", 3)
            yield int(click), int(conversion)


def _has_times(log: str) -> bool:
    return os.path.exists(os.path.join(log, names.times_file(names.TRAIN)))


def _times(log: str, split: str) -> Iterator[Cells]:
    """The times of each impression; nothing where the log tells none."""
    if not _has_times(log):
        yield from itertools.repeat({})
    with open(os.path.join(log, names.times_file(split)), encoding="utf-8") as file:
        for _, *times in itertools.islice(csv.reader(file), 1, None):
            yield dict(
                zip((SHOWN_AT, CLICKED_AT, CONVERTED_AT), (int(time) if time else None for time in times), strict=True)
            )


def _impression(aliccp: Schema, request: RawRequest, place: int) -> Cells:
    side = {key: rows[place] for key, rows in request.impressions.items()}
    cells = {field.name: _value(field, side) for field in aliccp.impression_fields}
    item = int(cells[ITEM])
    words = f'item {item}, "new"' if item % 3 == 0 else f"item {item}"
    picture = [round(item % k / k, 3) for k in (7, 11, 13)]
    return {**cells, PRICE: item % 997 / 8, PICTURE: picture if item % 5 else None, TITLE: words.encode()}


def _value(field: Field, side: raw_requests.Values) -> Any:
    """A number, a list, a value with its weight, a list of such pairs, or None."""
    values = side[field.name]
    if not values:
        return None
    if not field.weighted:
        return values if field.is_many else values[0]
    pairs = list(zip(values, side[field.weight_key], strict=True))
    return pairs if field.is_many else dict(zip(_PAIR, pairs[0], strict=True))


def _with_broken(requests: Iterator[list[Cells]], form: str, malformed: int) -> Iterator[tuple[Cells, Defect | None]]:
    """All rows, broken ones behind a good one of their request each."""
    planned = [
        defects[number % len(defects)]
        for defects in table_defects.of_form(form).values()
        for number in range(malformed)
    ]
    waiting = iter(enumerate(planned))
    for request in requests:
        for cells in request:
            yield cells, None
            for number, defect in itertools.islice(waiting, 1):
                yield table_defects.broken(defect, cells, number), defect
    for number, defect in waiting:
        yield table_defects.broken(defect, cells, number), defect


def _write_csv(rows: Iterator[tuple[Cells, Defect | None]], path: str) -> list[Broken]:
    fields = schema().by_name
    listed: list[Broken] = []
    with open(path, "wb") as file:
        for number, (cells, defect) in enumerate(rows):
            if not number:
                file.write(_csv_line(list(cells)))
            line = _csv_line([_csv_cell(fields.get(name), value) for name, value in cells.items()])
            if defect:
                listed.append(_listed(path, file.tell(), defect))
                line = defect.line(line) if defect.line else line
            file.write(line)
    return listed


def _listed(path: str, offset: int, defect: Defect) -> Broken:
    return {"file": os.path.basename(path), "offset": offset, "reason": defect.reason, "column": defect.column}


def _csv_line(cells: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _csv_cell(field: Field | None, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        separator = field.value_separator if field else ""
        pairs = (":".join(map(str, entry)) if isinstance(entry, tuple) else str(entry) for entry in value)
        return separator.join(pairs)
    return ":".join(map(str, value.values())) if isinstance(value, dict) else str(value)


def _write_parquet(rows: Iterator[tuple[Cells, Defect | None]], path: str) -> list[Broken]:
    listed: list[Broken] = []
    first, writer = 0, None
    while group := list(itertools.islice(rows, _ROWS_OF_GROUP)):
        listed += [
            _listed(path, first + place, defect) for place, (_, defect) in enumerate(group) if defect is not None
        ]
        table = pa.Table.from_pylist([cells for cells, _ in group], _arrow_schema(list(group[0][0])))
        writer = writer or pa.parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
        first += len(group)
    if writer:
        writer.close()
    return listed


def _arrow_schema(columns: list[str]) -> pa.Schema:
    fields = schema().by_name
    others = {VISIT: pa.string(), SHOWN_AT: pa.int64(), WEIGHT: pa.float64(), TITLE: pa.binary(), PRICE: pa.float64()}
    others |= {CLICKED_AT: pa.int64(), CONVERTED_AT: pa.int64()}
    others |= {ITEM: pa.float64(), PICTURE: pa.list_(pa.float32())}
    return pa.schema([(name, others.get(name) or _arrow_type(fields.get(name))) for name in columns])


def _arrow_type(field: Field | None) -> pa.DataType:
    if field is None or not (field.weighted or field.is_many):
        return pa.int64()
    if field.weighted and not field.is_many:
        return pa.struct(list(zip(_PAIR, (pa.int64(), pa.float64()), strict=True)))
    return pa.map_(pa.int64(), pa.float64()) if field.weighted else pa.list_(pa.int64())


FLAGS = flags.FLAGS


def run(argv: list[str]) -> None:
    """Writes the tables that the flags ask for."""
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag: flags are of the form --name=value")
    try:
        listed = write(FLAGS.input_dir, FLAGS.output_dir, FLAGS.form, FLAGS.malformed)
    except (ValueError, OSError) as error:
        sys.exit(f"simulate.tables: {storage.told(error)}")
    print(f"wrote {FLAGS.output_dir}: {names.SCHEMA_FILE}, tables with {len(listed):,} broken rows")


def main() -> None:
    """The command."""
    flags.DEFINE_string("input_dir", None, "Folder of a simulated log.", required=True)
    flags.DEFINE_string("output_dir", None, "Folder to make.", required=True)
    flags.DEFINE_enum("form", names.CSV, (names.CSV, names.PARQUET), "What tables.")
    flags.DEFINE_integer("malformed", 0, "Broken rows of each kind and split to put in.", lower_bound=0)
    app.run(run)


if __name__ == "__main__":
    main()
