"""Speed of reading CSV, plain and with every cell quoted, against Python's csv module.

    python benchmarks/preprocess_csv.py [--rows=120000] [--rows_of_visit=8]

Prints MB of CSV a second of CPU time: bytes to cells, the csv module doing the same, and bytes to the job's rows. Rows
of a visit share their context, which the job reads once where rows follow each other; with --rows_of_visit=1 none do.
"""

import argparse
import csv
import os
import random
import tempfile
import time

from features import schema_file
from features.raw_log import csv_table, log_files
from features.raw_log.batches import TableReader
from preprocess.read import table_rows

BLOCK = 24 << 20
ROUNDS = 3
SCHEMA = """
name: shop
columns: {request: visit, click: click, conversion: buy}
fields:
  - {name: user, group: user, side: context, kind: one, type: id}
  - {name: history, group: user, side: context, kind: many, type: id}
  - {name: item, group: item, side: impression, kind: one, type: id}
  - {name: title, group: item, side: impression, kind: one, type: string}
  - {name: price, group: item, side: impression, kind: one, type: number, quantiles: 10}
"""


def write(path, rows, quoting, rows_of_visit=8):
    draw = random.Random(1)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, quoting=quoting, lineterminator="\n")
        writer.writerow(["visit", "user", "history", "item", "title", "price", "click", "buy"])
        for n in range(rows):
            click = draw.random() < 0.1
            if n % rows_of_visit == 0:
                history = "|".join(str(draw.randrange(100_000)) for _ in range(8))
            title = f"title {draw.randrange(3000)} of it"
            labels = [int(click), int(click and draw.random() < 0.1)]
            visit = n // rows_of_visit
            writer.writerow([f"v{visit}", visit, history, draw.randrange(200_000), title, f"{n % 97}.25", *labels])


def cells(file, schema):
    table = csv_table.CsvTable(file.columns, schema.named_columns, ",")
    reader = TableReader(file, schema, BLOCK)
    form = csv_table.form_of(file.columns, schema)
    with open(file.path, "rb") as opened:
        for block in log_files.blocks(file, BLOCK):
            for rows in reader._rows(opened, block, form):
                table.read(rows)


def rows(file, schema):
    for block in log_files.blocks(file, BLOCK):
        for batch in TableReader(file, schema, BLOCK).batches(block):
            table_rows.parse(batch, 0, schema)


def csv_module(file, schema):
    with open(file.path, newline="") as opened:
        for _ in csv.reader(opened):
            pass


def speed(work, file, schema):
    seconds = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        work(file, schema)
        seconds.append(time.process_time() - begin)
    return file.size / 1e6 / min(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=120_000)
    parser.add_argument("--rows_of_visit", type=int, default=8)
    arguments = parser.parse_args()
    schema = schema_file.parse(SCHEMA, "shop.yaml")
    with tempfile.TemporaryDirectory() as folder:
        for name, quoting in (("plain", csv.QUOTE_MINIMAL), ("quoted", csv.QUOTE_ALL)):
            path = os.path.join(folder, name + ".csv")
            write(path, arguments.rows, quoting, arguments.rows_of_visit)
            file = log_files.described(log_files.LogFile(0, path, os.path.getsize(path), "train"), schema)
            found = {work.__name__: speed(work, file, schema) for work in (cells, csv_module, rows)}
            print(name + ": " + ", ".join(f"{what} {value:.1f} MB/s" for what, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
