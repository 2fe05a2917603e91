"""Which file of a log belongs to which split: one rule for the job and the client.

A file belongs to the split that it, or a folder above it (below --input_dir), is named for: the split's name stands
there as a word of its own, as in train.csv, shop_train.csv, ShopTrain-0.csv, train/dt=2026-01-03/x.parquet and
train.parquet/part-0.parquet. Where no file is named for a split, all files are read, and each request falls to a split.

Nothing is passed over in silence or read twice: a file that is named for two splits, or is there in two spellings
(train.csv and train.csv.gz), is an error; what is left over is told. Hidden files (names that begin with . or _, and
.crc) are other tools'.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Sequence

from features import names
from features.raw_log import compression
from features.raw_log.partitions import Partitions

# Names that splits commonly have: a file that is named for one of them is of no other split.
KNOWN = (
    *("train", "training", "trainset", "test", "testing", "testset", "val", "valid", "validation", "eval"),
    *("evaluation", "dev", "holdout"),
)
RULE = (
    "A file belongs to the split that it, or a folder above it, is named for: shop_train.csv, train/part-0.csv. Where "
    "no file is named for a split, each request falls to one."
)
_SUFFIXES = {names.CSV: (".csv", ".tsv"), names.PARQUET: (".parquet", ".pq")}


class SplitError(ValueError):
    """Files that the rule cannot tell apart, or of which a split has none; the message names them."""


@dataclasses.dataclass(frozen=True)
class Found:
    """A file of the input.

    Attributes:
        path: where it is.
        size: in bytes.
        relative: its path below --input_dir, or its name: what can be named for a split.
        given: whether it was named itself, and not found in a folder.
        partitions: columns that its folders name; see `partitions`.
    """

    path: str
    size: int
    relative: str
    given: bool = False
    partitions: Partitions = ()


@dataclasses.dataclass(frozen=True)
class Assigned:
    """Files of a format in order of path, and what is said of the others.

    Attributes:
        files: all files of the format. Their places here number them, whatever splits are asked for.
        splits: of each file: a split, None (each of its requests falls to one), or "" (not read).
        not_read: a line for each file that is passed over, with the reason.
    """

    files: list[Found]
    splits: list[str | None]
    not_read: list[str]


def assign(found: Iterable[Found], splits: Sequence[str], input_format: str, where: str) -> Assigned:
    """Files to splits. `where` is the input, for messages. Raises SplitError."""
    files, not_read = of_format(found, input_format)
    if not files:
        there = f"; there are {_some(line.split(': ')[0] for line in not_read)}" if not_read else ""
        raise SplitError(f"--input_dir={where}: no {input_format} file there{there}; see --input_format")
    _check_spellings(files)
    words = [words_in(file.relative, splits) for file in files]
    for file, named in zip(files, words, strict=True):
        if len(named) > 1 and set(named) & set(splits):
            raise SplitError(f"{file.path}: is named for the splits {' and '.join(named)}; {_remedy(splits)}")
    chosen = [next((word for word in named if word in splits), None) for named in words]
    if not any(chosen):
        return _pooled(files, words, splits, not_read)
    if missing := [split for split in splits if split not in chosen]:
        others = [file.relative for file, split in zip(files, chosen, strict=True) if split is None]
        left = f" (left over: {_some(others)})" if others else ""
        raise SplitError(
            f"--input_dir={where}: files of the split {', '.join(s for s in splits if s in chosen)}, but none of "
            f"{', '.join(missing)}{left}; name them for it, as in {_example(missing[0], input_format)}, or give "
            "other --splits"
        )
    for file, mine, named in zip(files, chosen, words, strict=True):
        if mine is None:
            reason = f"named for {named[0]}, which is not among --splits" if named else "named for no split"
            not_read.append(f"{file.path}: {reason}")
    return Assigned(files, [split or "" for split in chosen], not_read)


def _example(split: str, input_format: str) -> str:
    return names.common_file(split) if input_format == names.ALICCP else f"{split}.{input_format}"


def _pooled(files: list[Found], words: list[list[str]], splits: Sequence[str], not_read: list[str]) -> Assigned:
    """All files for all splits, since none is named for one."""
    for file, named in zip(files, words, strict=True):
        if named:
            raise SplitError(
                f"{file.path}: is named for {' and '.join(named)}, and no file for {' or '.join(splits)}; "
                f"{_remedy(splits)}"
            )
    if len(splits) > 2:
        raise SplitError(
            f"--splits={','.join(splits)}: no file is named for one of them ({_some(f.relative for f in files)}), and "
            "a log without files by split is cut in two at most"
        )
    return Assigned(files, [None] * len(files), not_read)


def _remedy(splits: Sequence[str]) -> str:
    return f"a file is of one split: rename or move it, or give other --splits than {','.join(splits)}"


def words_in(relative: str, splits: Sequence[str]) -> list[str]:
    """The splits' names, and other names that splits have, that stand in a path as words of their own."""
    by_length = sorted({*splits, *KNOWN}, key=lambda word: (-len(word), word))
    pattern = "|".join(_alone(word) for word in by_length)
    # ShopTrain is two words.
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", relative)
    spelled = {word.lower(): word for word in by_length}
    return list(dict.fromkeys(spelled[match.lower()] for match in re.findall(pattern, spaced, re.IGNORECASE)))


def _alone(word: str) -> str:
    """Pattern of a word with no letter beside it, and no digit beside a digit."""
    before = r"(?<![^\W_])" if word[:1].isdigit() else r"(?<![^\W\d_])"
    behind = r"(?![^\W_])" if word[-1:].isdigit() else r"(?![^\W\d_])"
    return before + re.escape(word) + behind


def of_format(found: Iterable[Found], input_format: str) -> tuple[list[Found], list[str]]:
    """Files of a format in order of path, and a line for each other. Raises SplitError for one that cannot be read."""
    files: list[Found] = []
    not_read: list[str] = []
    for file in sorted(found, key=lambda file: (file.relative, file.path)):
        if is_hidden(file.relative) and not file.given:
            if _is_of(file.relative, input_format):
                not_read.append(f"{file.path}: hidden by its name")
            continue
        _check_readable(file, input_format)
        if file.given or _is_of(file.relative, input_format):
            files.append(file)
        else:
            not_read.append(f"{file.path}: no {input_format} file by its name")
    return files, not_read


def is_hidden(relative: str) -> bool:
    """Whether a file is another tool's: _SUCCESS, _delta_log/0.json, .x.crc. A folder `_day=1` is a partition."""
    parts = relative.split("/")
    return parts[-1].endswith(".crc") or any(
        part.startswith(".") or (part.startswith("_") and "=" not in part) for part in parts
    )


def _is_of(relative: str, input_format: str) -> bool:
    if input_format == names.ALICCP:
        return is_skeleton(relative) or is_common(relative)
    return stem(relative).lower().endswith(_SUFFIXES[input_format])


def is_skeleton(relative: str) -> bool:
    """Whether a file is one of Ali-CCP's impressions, or part of one."""
    return _begins(relative, names.skeleton_file(""))


def is_common(relative: str) -> bool:
    """Whether a file is one of Ali-CCP's contexts, or part of one."""
    return _begins(relative, names.common_file(""))


def _begins(relative: str, name: str) -> bool:
    return any(part.startswith(os.path.splitext(name)[0]) for part in relative.split("/"))


def stem(relative: str) -> str:
    """The path without the suffix of a compression."""
    suffix = next((suffix for suffix in compression.CODECS if relative.lower().endswith(suffix)), "")
    return relative[: len(relative) - len(suffix)]


def _check_readable(file: Found, input_format: str) -> None:
    name = file.relative.lower()
    unreadable = next((suffix for suffix in compression.UNREADABLE if name.endswith(suffix)), "")
    if input_format == names.PARQUET and stem(name) != name:
        unreadable = name[len(stem(name)) :]
    if unreadable and (file.given or _is_of(name.removesuffix(unreadable), input_format) or words_in(name, ())):
        readable = "" if input_format == names.PARQUET else f", or pack it as {', '.join(compression.CODECS)}"
        raise SplitError(f"{file.path}: {unreadable} files are not read; unpack it{readable}, or move it away")


def _check_spellings(files: Sequence[Found]) -> None:
    """Raises SplitError where one file is there twice: under two names, by two ways, or compressed beside plain."""
    by_place: dict[str, Found] = {}
    for file in files:
        for place in (file.path, stem(file.path), _real(file.path)):
            other = by_place.setdefault(place, file)
            if other is not file:
                raise SplitError(f"{other.path} and {file.path}: one file twice; move one of them away")


def _real(path: str) -> str:
    return path if "://" in path else os.path.realpath(path)


def _some(found: Iterable[str], most: int = 5) -> str:
    every = list(found)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
