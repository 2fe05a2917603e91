"""Random tables of every type that Parquet holds, and of CSV: job, client and plain Python agree on each row.

python tests/random_tables.py --tables=100000 [--seed=0] [--seconds=300]
"""

import argparse
import csv
import datetime
import decimal
import io
import itertools
import os
import random
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import raw_log_reference as reference

from features import keys, names, raw_requests, reject_reasons, row_places
from features.raw_log import log_files, table
from features.raw_log.arrow_types import ColumnTypeError
from features.raw_log.batches import TableReader
from features.schema import Columns, Field, Schema
from preprocess.columns import ragged, rows
from preprocess.read import table_rows

TEXTS = ["", "7", "007", "-3", "x", "1.5", "1e3", "a|b", "5:0.5", "5:0.5|6:1", "é", "9" * 20, "nan", ":1", "5:", "5:x"]
TEXTS += [
    "inf",
    "-0",
    "1_0",
    " 1",
    "٣",
    "5:0.5:2",
    "||",
    "0",
    "1",
    "1e999",
    "NULL",
    "a,b",
    'q"q',
    '"',
    "two\nlines",
    "\r\n",
]
INTS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
FLOATS = [pa.float16(), pa.float32(), pa.float64()]
DECIMALS = [pa.decimal128(9, 2), pa.decimal128(38, 0), pa.decimal256(50, 3), pa.decimal128(5, 5)]
# Not in every release.
DECIMALS += [
    getattr(pa, name)(*size) for name, size in (("decimal32", (7, 2)), ("decimal64", (15, 3))) if hasattr(pa, name)
]
TEXT_TYPES = [pa.string(), pa.large_string(), pa.string_view()]
BYTE_TYPES = [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(2)]
MOMENTS = [pa.date32(), pa.date64(), pa.time32("ms"), pa.time64("us"), pa.time64("ns")]
MOMENTS += [pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC", "Asia/Tokyo")]
ODD = [pa.duration("s"), pa.duration("ns")]
PLAIN = [*INTS, *FLOATS, *DECIMALS, pa.bool_(), *TEXT_TYPES, *BYTE_TYPES, *MOMENTS, pa.null()]
REASONS = reject_reasons.REASONS
# Words that stand for no value.
MISSING = ["0", "7", "x", "true", "2.5", "1970-01-01", "NULL"]


class Drawer:
    """Draws columns from a seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, share):
        return self.random.random() < share

    def flat_type(self):
        kind = self.random.choice([*PLAIN, *PLAIN, *TEXT_TYPES * 3, *ODD])
        if kind in (*TEXT_TYPES[:1], pa.int64(), pa.int32(), pa.float64()) and self.chance(0.3):
            return pa.dictionary(pa.int32(), kind)
        return kind

    def type(self):
        if self.chance(0.5):
            return self.flat_type()
        element = self.flat_type()
        while element in (pa.string_view(), pa.binary_view()):
            # Arrow cannot write lists of these in row groups.
            element = self.flat_type()
        if self.chance(0.4):
            element = pa.struct(
                [("a", element), ("b", self.random.choice([pa.float32(), pa.float64(), pa.string(), pa.int8()]))]
            )
        if self.chance(0.05):
            element = self.random.choice([pa.list_(pa.int8()), pa.struct([("a", pa.int8())] * 1)])
        if self.chance(0.25):
            weight = self.random.choice([*FLOATS[1:], pa.string(), pa.int32(), pa.date32()])
            return pa.map_(self.random.choice([pa.string(), pa.int64(), pa.float32()]), weight)
        if pa.types.is_struct(element) and self.chance(0.3):
            return element
        lists = [pa.list_, pa.large_list, pa.list_view, pa.large_list_view, lambda kind: pa.list_(kind, 2)]
        return self.random.choice(lists)(element)

    def value(self, kind):
        # Arrow itself cannot read fixed-size lists of which one is null back from Parquet.
        if (self.chance(0.12) and not pa.types.is_fixed_size_list(kind)) or pa.types.is_null(kind):
            return None
        draw = self.random
        if pa.types.is_dictionary(kind):
            return self.value(kind.value_type)
        if pa.types.is_map(kind):
            keys_ = {k for k in (self.value(kind.key_type) for _ in range(draw.choice([0, 1, 2]))) if k is not None}
            return [(key, self.value(kind.item_type)) for key in keys_]
        if pa.types.is_struct(kind):
            return {f.name: self.value(f.type) for f in kind}
        if reference.is_list(kind):
            size = 2 if pa.types.is_fixed_size_list(kind) else draw.choice([0, 1, 1, 2, 3])
            entries = [self.value(kind.value_type) for _ in range(size)]
            return entries
        return self.plain(kind)

    def plain(self, kind):
        draw = self.random
        if kind in INTS:
            top = 2 ** (kind.bit_width - (not pa.types.is_unsigned_integer(kind)))
            low = 0 if pa.types.is_unsigned_integer(kind) else -top
            return draw.choice([0, 1, 1, 7, 12, 100, top - 1, low, low + 1])
        if kind in FLOATS:
            edge = float(reference.exact_limit(kind))
            value = draw.choice(
                [0.0, 1.0, 7.0, 12.0, 12.0, 2.5, -1.0, -0.0, 0.1, edge, edge - 1, float("nan"), float("inf"), 60000.0]
            )
            value = draw.choice([value, value, 1e300]) if kind == pa.float64() else value
            return np.float16(value) if kind == pa.float16() else value
        if kind in DECIMALS:
            digits = draw.choice([0, 5, 700, -300, 99999 if kind.precision > 5 else 9999, 10 ** (kind.precision - 1)])
            return decimal.Decimal(digits).scaleb(-kind.scale, decimal.Context(prec=80))
        if kind == pa.bool_():
            return draw.choice([True, False])
        if kind == pa.binary(2):
            return draw.choice([b"12", b"ab", b"\xff\xfe", b"1|", "é".encode()])
        if kind in BYTE_TYPES:
            return draw.choice([*(text.encode() for text in TEXTS), b"\xff", b"7|\xff"])
        if kind in TEXT_TYPES:
            return draw.choice(TEXTS)
        number = draw.choice([0, 1, 86399, 3600, 45296])
        if pa.types.is_date(kind):
            return datetime.date(1970, 1, 1) + datetime.timedelta(days=draw.choice([0, 1, -1, 19000]))
        if pa.types.is_time(kind):
            return (
                datetime.datetime.min + datetime.timedelta(seconds=number, microseconds=draw.choice([0, 1000, 250000]))
            ).time()
        per = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
        return draw.choice([0, 1, -1, per * 1_700_000_000, per * 1_700_000_000 + per // 2])

    def column(self, kind, size):
        values = [self.value(kind) for _ in range(size)]
        return pa.array(values, kind)

    def field(self, name):
        kind = self.random.choice(["one", "many"])
        type_ = self.random.choice(["id", "string", "number", "vector", "id", "string"])
        side = self.random.choice(["context", "impression", "impression"])
        more = {"missing": tuple(self.random.sample(MISSING, 2))} if self.chance(0.3) else {}
        if type_ == "number":
            scaled = self.random.choice([{"boundaries": (1.0, 2.0)}, {"scale": "log1p"}, {"scale": "standard"}])
            return Field(name, "g", side, "one", "number", **scaled, **more)
        if type_ == "vector":
            more |= {"columns": (name, f"{name}_2")} if self.chance(0.3) else {}
            return Field(name, "g", side, "one", "vector", size=2, **more)
        more |= {"point_zero": True} if type_ == "id" and self.chance(0.3) else {}
        if self.chance(0.2):
            return Field(name, "g", side, kind, type_, weight_column=f"{name}_w", **more)
        more |= {"columns": (name, f"{name}_2")} if kind == "many" and self.chance(0.2) else {}
        return Field(name, "g", side, kind, type_, weighted=self.chance(0.35), **more)


def python_value(scalar):
    """Value of a cell with dates and times as numbers."""
    kind = scalar.type
    if not scalar.is_valid:
        return None
    if pa.types.is_dictionary(kind):
        return python_value(scalar.value)
    if reference.is_moment(kind) or pa.types.is_duration(kind):
        return scalar.value
    if pa.types.is_map(kind):
        return [tuple(python_value(pair[place]) for place in range(2)) for pair in scalar.values]
    if reference.is_list(kind):
        return [python_value(entry) for entry in scalar.values]
    if pa.types.is_struct(kind):
        return {place: python_value(scalar[place]) for place in range(kind.num_fields)}
    value = scalar.as_py()
    return float(value) if isinstance(value, np.floating) else value


class Expected:
    """What the reference makes of a table: rows of values by column, and defects."""

    def __init__(self, schema, columns, offsets, faults):
        self.schema = schema
        self.kinds = {name: column.type for name, column in columns.items()}
        self.cells = {name: [python_value(cell) for cell in column] for name, column in columns.items()}
        self.offsets = offsets
        self.faults = faults
        self.order = table.column_names(schema)
        self.rows = [self.row(number) for number in range(len(offsets))]

    def row(self, number):
        defects = {}

        def attempt(column, work, *arguments):
            try:
                return work(*arguments)
            except reference.Problem as problem:
                reason = REASONS.index(problem.reason)
                defects[column] = min(reason, defects.get(column, 255))

        cells = {name: column[number] for name, column in self.cells.items()}
        values = {}
        for field in self.schema.fields:
            values[field.name], wrong = reference.values_of(field, cells, self.kinds)
            for column, reason in wrong.items():
                defects[column] = min(REASONS.index(reason), defects.get(column, 255))
        named = self.schema.columns
        request = attempt(named.request, self.word, named.request, number) if named.request else None
        sample_id = attempt(named.sample_id, self.sample_id, number) if named.sample_id else None
        unlabelled = dict(defects)
        labels = [
            attempt(column, self.label, column, number, reason)
            for column, reason in ((named.click, "click_not_binary"), (named.conversion, "conversion_not_binary"))
        ]
        if labels == [0, 1]:
            defects[named.conversion] = min(
                REASONS.index("conversion_without_click"), defects.get(named.conversion, 255)
            )
        return values, request, sample_id, labels, self.first(defects), self.first(unlabelled)

    def first(self, defects):
        found = [(reason, self.order.index(column)) for column, reason in defects.items()]
        return min(found) if found else None

    def word(self, column, number):
        cell, kind = self.cells[column][number], self.kinds[column]
        return None if reference.missing(cell, kind) else reference.one(cell, kind, "string")

    def sample_id(self, number):
        column = self.schema.columns.sample_id
        cell, kind = self.cells[column][number], self.kinds[column]
        if reference.missing(cell, kind):
            raise reference.Problem(reject_reasons.BAD_NUMBER)
        return reference.one(cell, kind, "id", reject_reasons.BAD_NUMBER)

    def label(self, column, number, reason):
        cell, kind = self.cells[column][number], self.kinds[column]
        text = {True: "1", False: "0"}.get(cell) if isinstance(cell, bool) else None
        try:
            text = (
                text
                if text is not None
                else ""
                if reference.missing(cell, kind)
                else reference.one(cell, kind, "string")
            )
        except reference.Problem:
            text = ""
        if text not in ("0", "1"):
            raise reference.Problem(reason)
        return int(text)


def key_of(field, value):
    if field.type == "string":
        return keys.fingerprint64(field.name + "=" + value)
    return value if field.type == "id" else int((np.float32(value) + np.float32(0)).view(np.uint32))


def features_by_row(found):
    """Field, key and weight of each feature of each row."""
    edges = ragged.starts(found.counts).tolist()
    features = list(zip(found.field.tolist(), found.key.tolist(), found.weight.tolist(), strict=True))
    return [features[begin:end] for begin, end in itertools.pairwise(edges)]


def job_rows(file, schema, block_sizes, piece):
    """The job's rows by offset: features by field, request, sample id and labels; and its rejects."""
    found, rejects = {}, {}
    contexts = set()
    blocks = log_files.blocks(file, block_sizes)
    for block in blocks:
        for batch in TableReader(file, schema, piece).batches(block):
            parsed = table_rows.parse(batch, file.index, schema)
            for place, reason, column in zip(
                parsed.rejects.place, parsed.rejects.reason, parsed.rejects.column, strict=True
            ):
                rejects[int(place) & row_places.MAX_OFFSET] = (int(reason), int(column))
            impressions, features = parsed.impressions, features_by_row(parsed.impressions)
            for number, place in enumerate(impressions.columns[rows.PLACE].tolist()):
                named = (rows.SAMPLE_ID, rows.CLICK, rows.CONVERSION)
                labels = [int(impressions.columns[name][number]) for name in named]
                key = impressions.request[number].as_py()
                found[place & row_places.MAX_OFFSET] = (features[number], key, labels)
            for key, context in zip(parsed.contexts.request.to_pylist(), features_by_row(parsed.contexts), strict=True):
                contexts.add((key, tuple(context)))
    return found, rejects, contexts


def features_of(schema, fields, values):
    return [
        (schema.index[field.name], key_of(field, value), float(np.float32(weight)))
        for field in fields
        for value, weight in values[field.name]
    ]


def check_job(expected, file, block_size, piece):
    schema = expected.schema
    found, rejects, contexts = job_rows(file, schema, block_size, piece)
    wanted_rejects = {offset: (REASONS.index(reason), table.WHOLE_ROW) for offset, reason in expected.faults.items()}
    wanted, wanted_contexts = {}, set()
    for offset, (values, request, sample_id, labels, defect, _) in zip(expected.offsets, expected.rows, strict=True):
        if defect:
            wanted_rejects[offset] = defect
            continue
        place = row_places.place_of(file.index, offset)
        key = request.encode() if request else b"\0" + str(place).encode()
        identity = place if sample_id is None else sample_id
        wanted[offset] = (features_of(schema, schema.impression_fields, values), key, [identity, *labels])
        wanted_contexts.add((key, tuple(features_of(schema, schema.context_fields, values))))
    assert rejects == wanted_rejects, (rejects, wanted_rejects, expected.kinds, expected.cells, schema.fields)
    assert found == wanted, (found, wanted, expected.kinds, expected.cells)
    assert contexts == wanted_contexts


def check_client(expected, folder, input_format):
    schema = expected.schema
    broken = []
    requests = list(raw_requests.read(folder, "test", schema, input_format, broken.append))
    wanted, wanted_broken = [], {offset: (reason, "") for offset, reason in expected.faults.items()}
    last = (object(), None)
    for offset, (values, request, sample_id, _, _, defect) in zip(expected.offsets, expected.rows, strict=True):
        if defect:
            wanted_broken[offset] = (REASONS[defect[0]], expected.order[defect[1]])
            continue
        place = row_places.place_of(0, offset)
        key = request or place
        context = {field.name: values[field.name] for field in schema.context_fields}
        if key == last[0] and last[1] != context:
            column = next(field.column for field in schema.context_fields if last[1][field.name] != context[field.name])
            wanted_broken[offset] = (reject_reasons.CONTEXT_MISMATCH, column)
            continue
        last = (key, context)
        wanted.append((place if sample_id is None else sample_id, values))
    assert {error.offset: (error.reason, error.column) for error in broken} == wanted_broken
    assert all(error.file.startswith(folder) and "\n" not in str(error) for error in broken)
    found = []
    for request in requests:
        for place, sample_id in enumerate(request.sample_ids):
            values = {}
            for field in schema.fields:
                side = request.context if field.is_context else {k: v[place] for k, v in request.impressions.items()}
                weights = side[field.weight_key] if field.weighted else [1.0] * len(side[field.name])
                values[field.name] = list(zip(side[field.name], weights, strict=True))
            found.append((sample_id, values))
    assert found == wanted


def check_refused(schema, folder, path, refused):
    """The same line for both, with file, column, its type and the key of the schema that helps."""
    said = set()
    for read in (
        lambda: log_files.described(log_files.find(folder, ["test"], names.PARQUET)[0][0], schema),
        lambda: list(raw_requests.read(folder, "test", schema, names.PARQUET)),
    ):
        with pytest.raises(ColumnTypeError) as raised:
            read()
        said.add(str(raised.value))
    (line,) = said
    assert "\n" not in line and path in line and any(f"column {name} is " in line for name in refused), line
    assert any(key in line for key in ("kind: many", "weighted: ", "type: ", "columns: ")), line


def check_parquet(seed, folder):
    drawer = Drawer(seed)
    size = drawer.random.randint(1, 6)
    fields = [drawer.field(f"f{number}") for number in range(drawer.random.randint(1, 3))]
    if all(field.is_context for field in fields) or all(field.is_dense for field in fields):
        fields.append(Field("last", "g", "impression", "one", "id"))
    types = {}
    for field, column, refuses in columns_of(fields):
        types[column] = drawer.type()
        while refuses(types[column], field) and not drawer.chance(0.1):
            types[column] = drawer.type()
    request = "r" if drawer.chance(0.6) else None
    sample_id = "s" if drawer.chance(0.3) else None
    for name in filter(None, (request, sample_id)):
        types[name] = drawer.random.choice(PLAIN if name == "r" else [t for t in PLAIN if t not in MOMENTS])
    columns = {name: drawer.column(kind, size) for name, kind in types.items()}
    for label in ("click", "buy"):
        kind = drawer.random.choice([pa.int8(), pa.bool_(), pa.string(), pa.float64()])
        drawn = [drawer.random.choice([0, 0, 1, 1] if label == "click" else [0, 0, 0, 1]) for _ in range(size)]
        columns[label] = (
            pa.array([str(value) for value in drawn], kind) if kind == pa.string() else pa.array(drawn).cast(kind)
        )
    schema = Schema("t", tuple(fields), Columns("click", "buy", request, sample_id))
    path = os.path.join(folder, "test.parquet")
    try:
        pq.write_table(pa.table(columns), path, row_group_size=drawer.random.choice([2, 100, 100, 100]))
    except pa.ArrowIndexError:
        # Arrow itself cannot write some empty lists, so no log holds them.
        return
    with pq.ParquetFile(path) as opened:
        # Group by group: Arrow cannot read some nested columns in one.
        groups = [opened.read_row_group(number, use_threads=False) for number in range(opened.num_row_groups)]
    stored = pa.concat_tables(groups)
    refused = [
        column for field, column, refuses in columns_of(fields) if refuses(stored.schema.field(column).type, field)
    ]
    if refused:
        check_refused(schema, folder, path, refused)
        return
    columns = {name: stored.column(name).combine_chunks() for name in columns}
    expected = Expected(schema, columns, list(range(size)), {})
    file = log_files.described(log_files.find(folder, ["test"], names.PARQUET)[0][0], schema)
    check_job(expected, file, 1, drawer.random.choice([1, 3, *[1 << 16] * 6]))
    check_client(expected, folder, names.PARQUET)


def columns_of(fields):
    """Each field's columns, and what says which types they cannot have."""
    for field in fields:
        for column in field.columns:
            yield field, column, reference.refuses
        if field.weight_column:
            yield field, field.weight_column, reference.refuses_weights


def check_csv(seed, folder):
    drawer = Drawer(seed)
    fields = [drawer.field(f"f{number}") for number in range(drawer.random.randint(1, 3))]
    fields.append(Field("last", "g", "impression", "one", "string"))
    request = "r" if drawer.chance(0.6) else None
    schema = Schema("t", tuple(fields), Columns("click", "buy", request, None))
    columns = [column for _, column, _ in columns_of(fields)]
    header = [*columns, *filter(None, [request]), "click", "buy"]
    drawer.random.shuffle(header)
    text = io.StringIO()
    quoting = drawer.random.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
    writer = csv.writer(text, quoting=quoting, lineterminator=drawer.random.choice(["\n", "\r\n"]))
    writer.writerow(header)
    words = [*TEXTS, 'say ""', '6" nail', "a\nb", "1\n0,1,2\n3", "x" * 40]
    for _ in range(drawer.random.randint(0, 8)):
        cells = {column: drawer.random.choice(words) for column in columns}
        cells |= {"r": drawer.random.choice(["a", "b", ""])}
        cells |= {"click": drawer.random.choice("011"), "buy": drawer.random.choice("0001")}
        writer.writerow([cells[name] for name in header])
    data = text.getvalue().encode()
    begin = data.index(b"\n") + 1
    for _ in range(drawer.random.choice([0, 0, 1, 3])):
        place = drawer.random.randint(begin, len(data))
        junk = drawer.random.choice([b'"', b",", b"\n", b"\r", b"\xff", b'""', b"", b' "', b'",', b"\n\n", b" \n"])
        data = data[:place] + junk + data[place + drawer.random.choice([0, 0, 1, 5]) :]
    path = os.path.join(folder, "test.csv")
    with open(path, "wb") as file:
        file.write(data)
    labels = [header.index(name) for name in ("click", "buy")]
    cut, faults = [], {}
    for offset, _, found in reference.csv_rows(data, len(header), begin, labels=labels):
        if isinstance(found, str):
            faults[offset] = found
        else:
            cut.append((offset, found))
    columns = {name: pa.array([cells[place] for _, cells in cut], pa.string()) for place, name in enumerate(header)}
    expected = Expected(schema, columns, [offset for offset, _ in cut], faults)
    described = log_files.described(log_files.find(folder, ["test"], names.CSV)[0][0], schema)
    assert described.first == begin
    # Small blocks are read one by one: most tables come in one, so that there can be many tables.
    sizes = drawer.random.choice([(7, 7), (7, 1000), (40, 7), (40, 1000), *[(1 << 16, 1 << 16)] * 60])
    check_job(expected, described, *sizes)
    check_client(expected, folder, names.CSV)


def check(seed, folder):
    """Draws a table and holds the three readers against each other. The folder is this function's alone."""
    for name in os.listdir(folder):
        os.remove(os.path.join(folder, name))
    (check_csv if seed % 3 == 0 else check_parquet)(seed, folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="to stop after, whatever --tables says")
    arguments = parser.parse_args()
    begin, failed = time.time(), []
    folder = tempfile.mkdtemp(prefix="random-tables-")
    drawn = 0
    for seed in range(arguments.seed, arguments.seed + arguments.tables):
        if time.time() - begin > arguments.seconds:
            break
        drawn += 1
        try:
            check(seed, folder)
        except Exception as error:
            failed.append(seed)
            print(f"seed {seed}: {type(error).__name__}: {str(error)[:1500]}", flush=True)
            if len(failed) > 9:
                break
        if drawn % 5_000 == 0:
            print(f"{drawn} tables, {len(failed)} differences, {time.time() - begin:.0f} s", flush=True)
    print(f"{drawn} tables from seed {arguments.seed}, {len(failed)} differences {failed}, {time.time() - begin:.0f} s")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
