"""A first schema file of a log: python -m preprocess.suggest_schema FILES > my_log.yaml.

FILES are CSV (any separator, with or without a header line, plain or gzip) or Parquet files, or folders of them. What
the columns are is guessed from their names and the first rows, and said in comments; the job takes it as it is.
"""

from __future__ import annotations

import sys

from absl import app, flags

import storage
from features import schema_file
from preprocess.suggest import columns, facts, sample, schema_text

_ROWS = flags.DEFINE_integer("rows", 50_000, "Rows to look at.", lower_bound=1)
_CLICK = flags.DEFINE_string("click", "", "Column of the clicks, where its name does not tell.")
_CONVERSION = flags.DEFINE_string("conversion", "", "Column of the conversions, where its name does not tell.")
_OUTPUT = flags.DEFINE_string("output", "", "File to write; it must not be there yet. Empty: the terminal.")


def suggest(paths: list[str], rows: int, click: str = "", conversion: str = "") -> str:
    """Text of a schema file.

    Args:
        paths: files or folders of the log.
        rows: to look at.
        click: column of the clicks; empty: by its name.
        conversion: column of the conversions; empty: by its name.

    Raises:
        SampleError, NoLabelError: no log there, or none with labels.
    """
    taken = sample.read(paths, rows)
    found = {name: facts.find(name, column) for name, column in taken.columns.items()}
    text = schema_text.write(taken, found, columns.find(found, click, conversion))
    schema_file.parse(text, "the suggested schema")
    return text


def _run(arguments: list[str]) -> None:
    if len(arguments) < 2:
        sys.exit("suggest_schema: give files or folders of a log: python -m preprocess.suggest_schema FILES")
    try:
        text = suggest(arguments[1:], _ROWS.value, _CLICK.value, _CONVERSION.value)
        if _OUTPUT.value:
            with open(_OUTPUT.value, "x", encoding="utf-8") as file:
                file.write(text)
    except FileExistsError:
        sys.exit(f"suggest_schema: --output={_OUTPUT.value}: the file is there; remove it or name another")
    except (ValueError, OSError) as error:
        sys.exit(f"suggest_schema: {storage.told(error)}")
    if not _OUTPUT.value:
        print(text, end="")


def main() -> None:
    """The command."""
    app.run(_run)


if __name__ == "__main__":
    main()
