"""Random small logs with everything in them that real ones have: repeats, gaps, duplicates, broken and unusual rows."""

import dataclasses
import gzip
import random

import pyarrow as pa
import pyarrow.parquet

from features import names
from features.schema import Columns, Field, Schema

FS, IS, VS = names.FEATURE_SEPARATOR, names.FIELD_SEPARATOR, names.VALUE_SEPARATOR


def aliccp_schema(unique_ids):
    def field(name, side, kind, weighted=False):
        return Field(name, "group", side, kind, "id", weighted=weighted)

    return Schema(
        "random",
        (
            field("c1", "context", "one"),
            field("cw", "context", "one", weighted=True),
            field("cm", "context", "many", weighted=True),
            field("i1", "impression", "one"),
            field("im", "impression", "many"),
            field("iw", "impression", "one", weighted=True),
            field("imw", "impression", "many", weighted=True),
        ),
        Columns(click="click", conversion="conversion", request="common_feature_index", sample_id="sample_id"),
        unique_ids,
    )


def table_schema(with_request, with_sample_id):
    return Schema(
        "random",
        (
            Field("user", "user", "context", "one", "id"),
            Field("words", "user", "context", "many", "string", column="past words", weighted=True),
            Field("age", "user", "context", "one", "number", boundaries=(18.0, 30.5, 64.0)),
            Field("item", "item", "impression", "one", "string"),
            Field("price", "item", "impression", "one", "number", quantiles=4),
            Field("tags", "item", "impression", "many", "id", value_separator=" "),
            Field("shops", "item", "impression", "many", "id", weighted=True),
            Field("rank", "place", "impression", "one", "id", weighted=True),
        ),
        Columns("click", "buy", "request" if with_request else None, "id" if with_sample_id else None),
    )


@dataclasses.dataclass
class Written:
    """A file of the log: its name, its bytes uncompressed, and whether it holds contexts."""

    name: str
    data: bytes
    is_context: bool = False


class LogWriter:
    """Draws a log from a seed."""

    def __init__(self, seed, schema, broken):
        self.random = random.Random(seed)
        self.schema = schema
        self.broken = broken
        self.sample_id = self.random.choice([0, 1, 2**40])
        # Few ids: they repeat in lists, over fields, and some reach min_count.
        self.ids = [self.random.choice([3, 50, 2**31, 2**32 + 7, 2**62]) + n for n in range(self.random.randint(2, 12))]

    def chance(self, probability):
        return self.random.random() < probability

    # Ali-CCP

    def aliccp(self, folder, split):
        """Writes the files of a split; returns them in the job's order."""
        keys = [self.key() for _ in range(self.random.randint(1, 9))]
        contexts = [self.context_line(key) for key in keys for _ in range(self.random.choice([0, 1, 1, 1, 2]))]
        impressions = [self.impression_line(self.random.choice(keys)) for _ in range(self.random.randint(0, 60))]
        files = self.write(folder, f"common_features_{split}", contexts, True)
        return files + self.write(folder, f"sample_skeleton_{split}", impressions, False)

    def key(self):
        return self.random.choice(["{:x}", "{}", "ключ{}", "k e-y{}"]).format(self.random.getrandbits(20)).encode()

    def context_line(self, key):
        features = self.features(self.schema.context_fields)
        return self.maybe_broken(key + b"," + self.listed(features))

    def impression_line(self, key):
        self.sample_id += self.random.choice([1, 1, 1, 2, 0 if self.broken else 1, -3 if self.broken else 1])
        click, conversion = self.random.choice(["00", "00", "10", "11", "01" if self.broken else "00"])
        features = self.features(self.schema.impression_fields)
        line = f"{max(self.sample_id, 0)},{click},{conversion},".encode() + key + b"," + self.listed(features)
        return self.maybe_broken(line)

    def features(self, fields):
        found = []
        for field in fields:
            count = self.random.choice([0, 1, 2, 5] if field.is_many else [0, 1, 1, 1])
            # Where ids are unique, those of a field are apart from all others.
            first = 1234567891 * (self.schema.index[field.name] + 1) if self.schema.unique_ids else 0
            found += [(field.name, first + self.random.choice(self.ids), self.weight()) for _ in range(count)]
        if self.chance(0.1):
            found.append(("unknown", "x", "y"))
        self.random.shuffle(found)
        return found

    def weight(self):
        return self.random.choice(["1.0", "0", "2.30259", "0.1", "1e-05", "3", "7.", "+1", "16777217.000000001"])

    def listed(self, features):
        return f"{len(features)},".encode() + FS.join(f"{f}{IS}{i}{VS}{w}" for f, i, w in features).encode()

    def maybe_broken(self, line):
        if not self.broken or not self.chance(0.15):
            return line
        place = self.random.randrange(len(line) + 1)
        insert = self.random.choice(
            [b"", b",", b"-", b".", b"x", b"\xff", b"9" * 19, b"\x00", b" ", b"\r", b'"', b"\x01", b"\x02\x03"]
        )
        cut = self.random.choice([0, 0, 1, 2, len(line)])
        return (line[:place] + insert + line[place + cut :]).replace(b"\n", b"")

    def write(self, folder, stem, lines, is_context):
        parts = self.random.randint(1, 2)
        files = []
        for part in range(parts):
            chosen = lines[part * len(lines) // parts : (part + 1) * len(lines) // parts]
            data = self.text(chosen)
            compressed = self.chance(0.3)
            name = f"{stem}-{part}.csv" + (".gz" if compressed else "")
            (folder / name).write_bytes(gzip.compress(data) if compressed else data)
            files.append(Written(name, data, is_context))
        return files

    def text(self, lines):
        end = self.random.choice([b"\n", b"\n", b"\r\n"])
        data = b"".join(line + end for line in lines)
        return data[: -len(end)] if lines and self.chance(0.3) else data

    # Tables

    def table(self):
        """Cells of a table's rows, as texts by column."""
        rows = []
        for number in range(self.random.randint(1, 12)):
            context = {"user": self.id(), "past words": self.cell(self.word, True), "age": self.number()}
            for _ in range(self.random.choice([1, 1, 2, 5])):
                self.sample_id += self.random.choice([1, 1, 2, 0 if self.broken else 1])
                click, buy = self.random.choice(["00", "10", "11", "01" if self.broken else "00"])
                row = {"request": f"r{number}", "id": str(self.sample_id), "click": click, "buy": buy, "not read": "?"}
                row |= context | {"item": self.word(), "price": self.number(), "tags": self.cell(self.id, False, " ")}
                row |= {"shops": self.cell(self.id, True), "rank": self.id() and f"{self.id() or 1}:{self.weight()}"}
                if self.chance(0.05):
                    row["age"] = self.number()
                if self.broken and self.chance(0.1):
                    row[self.random.choice(list(row))] = self.random.choice(
                        ["", "x", "-1", "nan", "1e999", "2:x", "9" * 20]
                    )
                rows.append(row)
        self.random.shuffle(rows)
        return rows

    def id(self):
        return self.random.choice(["", *map(str, self.ids)])

    def word(self):
        return self.random.choice(["", "a", "b", "naïve", "two words", "日本"])

    def number(self):
        return self.random.choice(["", "18", "30.5", "-2.25", "1e3", "17.999999", "0", "-0.0", "64"])

    def cell(self, value, weighted, separator="|"):
        values = [value() for _ in range(self.random.choice([0, 1, 2, 6]))]
        return separator.join(f"{v}:{self.weight()}" if v and weighted else v for v in values)

    def csv(self, folder, stem):
        """Writes CSV files."""
        files = []
        for part in range(self.random.randint(1, 2)):
            rows = self.table()
            header = ",".join(rows[0]).encode()
            lines = [self.csv_line(row.values()) for row in rows]
            data = self.text([header, *lines])
            compressed = self.chance(0.3)
            name = f"{stem}{part}.csv" + (".gz" if compressed else "")
            (folder / name).write_bytes(gzip.compress(data) if compressed else data)
            files.append(Written(name, data))
        return files

    def csv_line(self, cells):
        line = ",".join(f'"{cell}"' if self.chance(0.02) else cell for cell in cells).encode()
        return self.maybe_broken(line) if self.broken and self.chance(0.3) else line

    def parquet(self, folder, stem):
        """Writes a Parquet file with lists and numbers; returns the rows as CSV would have them."""
        rows = self.table()
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        arrays = {name: pa.array(cells) for name, cells in columns.items()}
        arrays["tags"] = pa.array([[int(tag) for tag in cell.split(" ") if tag] or None for cell in columns["tags"]])
        arrays["age"] = pa.array([float(cell) if cell else None for cell in columns["age"]])
        arrays["item"] = pa.array([cell or None for cell in columns["item"]], pa.string()).dictionary_encode()
        arrays["click"] = pa.array([cell == "1" for cell in columns["click"]])
        pa.parquet.write_table(pa.table(arrays), folder / f"{stem}.parquet", row_group_size=7)
        return rows
