"""Names of fields and groups, which may be any word, as TensorFlow's scopes, which allow few letters."""

from __future__ import annotations

import re
import zlib

_OTHERS = re.compile(r"[^A-Za-z0-9_.-]")


def scope(kind: str, word: str) -> str:
    """Name of a scope for a field or group: `kind_word`, with a checksum where letters of it had to be replaced."""
    allowed = _OTHERS.sub("_", word)
    return f"{kind}_{allowed}" if allowed == word else f"{kind}_{allowed}_{zlib.crc32(word.encode()):08x}"
