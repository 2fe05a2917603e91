"""What comes back of a call: scores that were looked at one by one, or why there are none."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from features import names

# Of each name of `names.SCORES` the scores of a request's impressions.
Scores = dict[str, list[float]]


@dataclasses.dataclass(frozen=True)
class Answer:
    """Scores, and the number of the model's version that gave them; None where the server does not tell."""

    scores: Scores
    version: int | None


class CallError(Exception):
    """An attempt that brought no scores.

    Attributes:
        retried: whether another attempt may bring them: `NEVER`, `SOMETIMES` (it may be the call's own fault) or
            `ALWAYS` (the server is away, starting, or has too much to do).
        wait_seconds: what the server asks to wait before; 0 where it says nothing.
    """

    NEVER = "never"
    SOMETIMES = "sometimes"
    ALWAYS = "always"

    def __init__(self, problem: str, retried: str = NEVER, wait_seconds: float = 0.0) -> None:
        super().__init__(problem)
        self.retried = retried
        self.wait_seconds = wait_seconds


def checked(scores: Any, count: int) -> Scores:
    """The scores, if they are `count` finite numbers from 0 to 1 for each name. Raises CallError."""
    for name in names.SCORES:
        values = scores[name]
        if not isinstance(values, list) or len(values) != count:
            found = f"{len(values)} values" if isinstance(values, list) else type(values).__name__
            raise CallError(f"the answer has no {count} scores of {name}: {found}")
        for place, value in enumerate(values):
            if type(value) not in (int, float) or not (math.isfinite(value) and 0 <= value <= 1):
                raise CallError(f"{name} of impression {place + 1} is {value!r:.80}, not a finite number from 0 to 1")
    return {name: scores[name] for name in names.SCORES}
