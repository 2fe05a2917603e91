"""Settings that say what they are: the fields of a frozen dataclass, each with all that a flag needs in its metadata.

A field's metadata: `help`, `group` (the heading that it stands below), `choices` where only some words are allowed, the
bounds of a number, and `read_by`: the settings, with their values, that make this one be read at all.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

# In `read_by`: any value but an empty one.
ANY: tuple[str, ...] = ()
# What the value of a setting is, by the type of its default.
_KINDS: dict[type, tuple[str, type]] = {
    bool: ("true or false", bool),
    int: ("a whole number", numbers.Integral),
    float: ("a number", numbers.Real),
    str: ("a text", str),
}


def setting(
    default: Any,
    help: str,
    group: str,
    choices: Collection[str] = (),
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    read_by: Mapping[str, Collection[Any]] | None = None,
) -> Any:
    """A field of a dataclass of settings.

    Args:
        default: its value unless given; its type is the flag's.
        help: what it is, a sentence.
        group: heading that it stands below.
        choices: words that are allowed; empty: any.
        least: smallest number.
        most: largest number.
        above: number that it must be larger than.
        below: number that it must be smaller than.
        read_by: names of settings and the values (or ANY) with one of which this setting has an effect; None: always.
    """
    bounds = {"least": least, "most": most, "above": above, "below": below}
    metadata = {"help": help, "group": group, "choices": choices, "read_by": read_by or {}} | bounds
    return dataclasses.field(default=default, metadata=metadata)


def refused(settings: Any) -> Iterator[tuple[str, str]]:
    """Name of each setting whose value is not allowed, and what is, as the end of a sentence."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        kind = _KINDS.get(type(field.default))
        if kind and not _is_of(value, kind):
            yield field.name, f"allowed is {kind[0]}"
        elif field.metadata["choices"] and value not in field.metadata["choices"]:
            yield field.name, f"allowed are {', '.join(field.metadata['choices'])}"
        elif isinstance(value, int | float) and not _is_within(value, field.metadata):
            yield field.name, f"allowed is {_bounds_text(field.metadata)}"


def _is_of(value: Any, kind: tuple[str, type]) -> bool:
    return isinstance(value, kind[1]) and isinstance(value, bool) == (kind[1] is bool)


def _is_within(value: float, metadata: Mapping[str, Any]) -> bool:
    least, most, above, below = (metadata[name] for name in ("least", "most", "above", "below"))
    return (
        math.isfinite(value)
        and (least is None or value >= least)
        and (most is None or value <= most)
        and (above is None or value > above)
        and (below is None or value < below)
    )


def _bounds_text(metadata: Mapping[str, Any]) -> str:
    least, most, above, below = (metadata[name] for name in ("least", "most", "above", "below"))
    if least is not None and most is not None:
        return f"{least:g} to {most:g}"
    low = f"{least:g} or more" if least is not None else "" if above is None else f"more than {above:g}"
    high = f"at most {most:g}" if most is not None else "" if below is None else f"less than {below:g}"
    return ", ".join(filter(None, (low, high))) or "a finite number"


def groups(*kinds: type) -> list[str]:
    """Headings of some dataclasses of settings, in their order."""
    return list(dict.fromkeys(field.metadata["group"] for kind in kinds for field in dataclasses.fields(kind)))


def without_effect(settings: Any, given: Iterable[str]) -> list[str]:
    """A line for each setting among the given ones that the others leave unread."""
    fields = {field.name: field.metadata["read_by"] for field in dataclasses.fields(settings)}
    return [_line(name, settings, fields[name]) for name in given if name in fields and not is_read(name, settings)]


def is_read(name: str, settings: Any) -> bool:
    """Whether the others' values let a setting have an effect."""
    field = next(field for field in dataclasses.fields(settings) if field.name == name)
    conditions = field.metadata["read_by"]
    return not conditions or any(
        _holds(getattr(settings, other), values) and is_read(other, settings) for other, values in conditions.items()
    )


def _holds(value: Any, values: Collection[Any]) -> bool:
    return value in values if values else bool(value)


def _line(name: str, settings: Any, conditions: Mapping[str, Collection[Any]]) -> str:
    ways = (
        f"--{other}={'|'.join(map(str, values))}" if values else f"--{other}" for other, values in conditions.items()
    )
    value = getattr(settings, name)
    shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
    return f"--{name}={shown} has no effect here: it is read with {' or '.join(ways)}"
