"""The preprocess job in plain Python, row by row, with dictionaries: what the columnar job must equal."""

import bisect
import csv
import dataclasses
import io
from collections import Counter

import numpy as np
import pyarrow as pa
import raw_log_reference

from features import keys, names, reject_reasons
from features.raw_values import ValueProblem, parse_id, parse_weight


@dataclasses.dataclass
class Row:
    """A row that passed: values are lists of (raw value, weight) by field name."""

    place: tuple
    request: bytes
    values: dict
    sample_id: int = 0
    click: int = 0
    conversion: int = 0
    context_cells: tuple = ()


def aliccp_row(schema, line, is_context, place):
    """Row of an Ali-CCP line; raises ValueProblem with the first defect."""
    text = line.rstrip(b"\r\n")
    if not text.strip():
        raise ValueProblem(reject_reasons.BLANK_LINE, text)
    try:
        columns = text.decode().split(",")
    except UnicodeDecodeError as error:
        raise ValueProblem(reject_reasons.NOT_UTF8, text) from error
    if len(columns) != (3 if is_context else 6):
        raise ValueProblem(reject_reasons.WRONG_COLUMN_COUNT, text)
    problems = []

    def attempt(parse, *arguments):
        try:
            return parse(*arguments)
        except ValueProblem as problem:
            problems.append(problem.reason)

    sample_id, click, conversion = (0, 0, 0)
    if not is_context:
        sample_id = attempt(parse_id, columns[0], reject_reasons.BAD_NUMBER)
        click, conversion = labels(columns[1], columns[2], problems)
    entries = columns[-1].split(names.FEATURE_SEPARATOR) if columns[-1] else []
    count = attempt(parse_id, columns[-2], reject_reasons.BAD_NUMBER)
    if count is not None and count != len(entries):
        problems.append(reject_reasons.WRONG_FEATURE_COUNT)
    fields = {field.column: field for field in (schema.context_fields if is_context else schema.impression_fields)}
    values = {}
    for entry in entries:
        name, first, rest = entry.partition(names.FIELD_SEPARATOR)
        value, second, weight = rest.partition(names.VALUE_SEPARATOR)
        if not (name and first and second):
            problems.append(reject_reasons.BAD_FEATURE)
        if name in fields:
            pair = (attempt(parse_id, value), attempt(parse_weight, weight))
            values.setdefault(fields[name].name, []).append(pair)
    if any(len(found) > 1 and not schema.by_name[name].is_many for name, found in values.items()):
        problems.append(reject_reasons.SEVERAL_VALUES)
    if problems:
        raise ValueProblem(min(problems, key=reject_reasons.REASONS.index), text)
    return Row(place, columns[-3].encode(), values, sample_id, click, conversion)


def labels(click, conversion, problems):
    if click not in ("0", "1"):
        problems.append(reject_reasons.CLICK_NOT_BINARY)
    if conversion not in ("0", "1"):
        problems.append(reject_reasons.CONVERSION_NOT_BINARY)
    if (click, conversion) == ("0", "1"):
        problems.append(reject_reasons.CONVERSION_WITHOUT_CLICK)
    return int(click == "1"), int(conversion == "1")


def table_row(schema, header, cells, place):
    """Row of a table; cells are texts by column, a problem's reason where the line is broken."""
    problems = []
    columns = schema.columns
    try:
        sample_id = parse_id(cells[columns.sample_id], reject_reasons.BAD_NUMBER) if columns.sample_id else None
    except ValueProblem as problem:
        problems.append(problem.reason)
    click, conversion = labels(cells[columns.click], cells[columns.conversion], problems)
    values = {}
    for field in schema.fields:
        values[field.name], wrong = raw_log_reference.values_of(field, cells, dict.fromkeys(cells, pa.string()))
        problems += wrong.values()
    if problems:
        raise ValueProblem(min(problems, key=reject_reasons.REASONS.index), cells)
    number = (place[0] << 40) + place[1]
    request = cells[columns.request].encode() if columns.request else b""
    request = request or b"\0" + str(number).encode()
    context = tuple(tuple((v, np.float32(w)) for v, w in values[field.name]) for field in schema.context_fields)
    return Row(place, request, values, number if sample_id is None else sample_id, click, conversion, context)


def lines_of(data, start=0):
    """Lines with their offsets."""
    place = start
    for line in io.BytesIO(data[start:]):
        yield place, line
        place += len(line)


def read_aliccp(schema, files, rejected):
    """Rows of Ali-CCP files [(number, bytes, is_context)]: contexts by key, impressions."""
    contexts, impressions = {}, []
    for number, data, is_context in files:
        for offset, line in lines_of(data):
            try:
                row = aliccp_row(schema, line, is_context, (number, offset))
            except ValueProblem as problem:
                rejected.add((number, offset, problem.reason))
                continue
            if not is_context:
                impressions.append(row)
            elif row.request in contexts:
                rejected.add((number, offset, reject_reasons.DUPLICATE_CONTEXT))
            else:
                contexts[row.request] = row.values
    return contexts, impressions


def read_csv(schema, files, rejected):
    """Rows of CSV files [(number, bytes)]."""
    rows = []
    for number, data in files:
        header = next(csv.reader([data.partition(b"\n")[0].decode("utf-8-sig").rstrip("\r\n")]))
        labels = [header.index(name) for name in (schema.columns.click, schema.columns.conversion)]
        begin = data.index(b"\n") + 1 if b"\n" in data else len(data)
        for offset, _, found in raw_log_reference.csv_rows(data, len(header), begin, labels=labels):
            if isinstance(found, str):
                rejected.add((number, offset, found))
                continue
            try:
                rows.append(table_row(schema, header, dict(zip(header, found, strict=True)), (number, offset)))
            except ValueProblem as problem:
                rejected.add((number, offset, problem.reason))
    return rows


def without_duplicates(impressions, rejected):
    """Impressions whose sample id no earlier row has."""
    seen, kept = set(), []
    for row in sorted(impressions, key=lambda row: row.place):
        if row.sample_id in seen:
            rejected.add((*row.place, reject_reasons.DUPLICATE_SAMPLE_ID))
        else:
            seen.add(row.sample_id)
            kept.append(row)
    return kept


def contexts_of_first_rows(schema, impressions, rejected):
    """Contexts of a table's requests, and the impressions that agree with them."""
    first, kept = {}, []
    for row in impressions:
        if first.setdefault(row.request, row).context_cells == row.context_cells:
            kept.append(row)
        else:
            rejected.add((*row.place, reject_reasons.CONTEXT_MISMATCH))
    names_ = [field.name for field in schema.context_fields]
    return {key: {name: row.values.get(name, []) for name in names_} for key, row in first.items()}, kept


def order_key(key, seed):
    """Order key of a request: unsigned."""
    salt = int(keys.mix64(np.array([seed]))[0])
    return int(keys.mix64(np.array([keys.fingerprint64(key) ^ salt]))[0]) % (1 << 64)


def record_order(record, seed):
    """Order key of a part of a request: unsigned."""
    salt = int(keys.mix64(np.array([seed]))[0])
    return int(keys.mix64(np.array([record[names.SAMPLE_ID][0] ^ salt]))[0]) % (1 << 64)


def requests_of(schema, contexts, impressions, seed=0):
    """Requests (key, context values, impressions) in output order."""
    grouped = {}
    for row in impressions:
        grouped.setdefault(row.request, []).append(row)
    ordered = sorted(grouped, key=lambda key: (order_key(key, seed), key))
    return [(key, contexts.get(key), grouped[key]) for key in ordered]


def drawn(key):
    """A number from 0 to 1 that decides the split of a request with this order key."""
    signed = key - (1 << 64) if key >= 1 << 63 else key
    return (int(keys.mix64(np.array([signed ^ 0x5EED]))[0]) % (1 << 64)) / 2**64


def table_requests(schema, rows, rejected, seed, split, test_fraction=0.2):
    """Requests of a table by split."""
    impressions = without_duplicates(rows, rejected)
    contexts, impressions = contexts_of_first_rows(schema, impressions, rejected)
    found = requests_of(schema, contexts, impressions, seed)
    if split:
        return {split: found}
    is_test = [drawn(order_key(request[0], seed)) < test_fraction for request in found]
    return {
        names.TRAIN: [request for request, test in zip(found, is_test, strict=True) if not test],
        names.TEST: [request for request, test in zip(found, is_test, strict=True) if test],
    }


def key_of(schema, field, value, boundaries):
    if field.type == "string":
        return keys.fingerprint64(field.name + "=" + value)
    if field.type == "number":
        value = bisect.bisect_right(
            [float(np.float32(edge)) for edge in boundaries[field.name]], float(np.float32(value))
        )
    return int(keys.keys_of_ids(schema, field, np.array([value]))[0])


def build_vocabulary(schema, requests, boundaries, min_count):
    """New id of each key that is kept."""
    counts = Counter()
    for _, context, impressions in requests:
        for row in impressions:
            found = [
                *(context or {}).items(),
                *((f.name, row.values.get(f.name, [])) for f in schema.impression_fields),
            ]
            counts.update(
                {key_of(schema, schema.by_name[name], v, boundaries) for name, pairs in found for v, _ in pairs}
            )
    kept = sorted((key for key, count in counts.items() if count >= min_count), key=lambda key: (-counts[key], key))
    return {key: schema.reserved_ids + place for place, key in enumerate(kept)}


def records(schema, requests, vocabulary, boundaries, limit, oov):
    """Records as dictionaries of lists, by record key."""
    for _, context, impressions in requests:
        for start in range(0, len(impressions), limit):
            part = impressions[start : start + limit]
            record = {}
            for field in schema.fields:
                lists = (
                    [(context or {}).get(field.name, [])]
                    if field.is_context
                    else [r.values.get(field.name, []) for r in part]
                )
                mapped = [remap(schema, field, pairs, vocabulary, boundaries, oov) for pairs in lists]
                record[field.name] = [new_id for pairs in mapped for new_id, _ in pairs]
                if field.weighted:
                    record[field.weight_key] = [np.float32(weight) for pairs in mapped for _, weight in pairs]
                if field.is_many and not field.is_context:
                    record[field.length_key] = [len(pairs) for pairs in mapped]
            for name in (names.SAMPLE_ID, names.CLICK, names.CONVERSION):
                record[name] = [getattr(row, name) for row in part]
            yield record


def remap(schema, field, pairs, vocabulary, boundaries, oov):
    found = [(vocabulary.get(key_of(schema, field, value, boundaries)), weight) for value, weight in pairs]
    if field.is_many and oov == "drop":
        found = [(new_id, weight) for new_id, weight in found if new_id is not None]
    named = [(schema.oov_id(field) if new_id is None else new_id, weight) for new_id, weight in found]
    return named or [(schema.missing_id(field), 1.0)]
