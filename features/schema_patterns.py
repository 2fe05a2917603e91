"""Patterns of column names: `user_feat_*` stands for every column that begins so."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

WILDCARD = "*"


def fitting(pattern: str, columns: Sequence[str], taken: Collection[str]) -> list[str]:
    """The columns that a pattern fits, in their order, without those that are named otherwise."""
    regular = re.compile(".*".join(map(re.escape, pattern.split(WILDCARD))), re.DOTALL)
    return [column for column in columns if column not in taken and regular.fullmatch(column)]
