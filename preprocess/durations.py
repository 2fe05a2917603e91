"""Lengths of time as flags give them: 90m, 36h, 7d."""

from __future__ import annotations

import re

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
ALLOWED = "a number and s, m, h or d, such as 7d or 36h"


def is_one(text: str) -> bool:
    """Whether a text is a length of time."""
    return bool(_DURATION.fullmatch(text.strip()))


def seconds(text: str) -> int:
    """Seconds of a length of time; 0 of an empty text. Raises ValueError of any other text."""
    found = _DURATION.fullmatch(text.strip() or "0s")
    if not found:
        raise ValueError(f"{text!r}: {ALLOWED}")
    return round(float(found[1]) * _UNITS[found[2]])
