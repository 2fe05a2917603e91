"""Days of a world: which items and users live on each, how far effects have drifted, the rhythm of the week.

A place in the catalog or the audience is held by one item or user after another, each with ids and effects of its own:
so a day's new ones are as many, and as popular, as those that went. An effect turns from one normal number to the next:
after n days it correlates with itself as cos(n * drift), until after a quarter turn nothing of it is left.
"""

from __future__ import annotations

import dataclasses
import datetime
import math

import numpy as np

from simulate import randomness

# Holders that a place can have, one after another: room for them is kept among the ids.
GENERATIONS = 1000
QUARTER_TURN = math.pi / 2
# Monday to Sunday: requests relative to the mean, and what the click logit gains.
REQUESTS = (0.96, 0.94, 0.94, 0.96, 1.02, 1.12, 1.06)
CLICK_LOGIT = (-0.03, -0.05, -0.05, -0.02, 0.02, 0.08, 0.05)


@dataclasses.dataclass(frozen=True)
class Calendar:
    """Parameters of a world that has days.

    Attributes:
        days: how many are written.
        first_day: date of the first, YYYY-MM-DD.
        drift: how far effects turn in a day, in radians.
        item_life_days: mean days between an item's birth and its successor's.
        user_life_days: the same of a user.
        conversion_delay_days: mean days from a click to its conversion, distributed exponentially; 0: no times.
        item_share: part of the variance of both interests that the item itself explains.
    """

    days: int
    first_day: str = "2026-01-01"
    drift: float = 0.05
    item_life_days: float = 10.0
    user_life_days: float = 30.0
    item_share: float = 0.15
    conversion_delay_days: float = 0.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("days", 1, GENERATIONS),
            ("drift", 0, QUARTER_TURN),
            ("item_life_days", 1, 10**6),
            ("user_life_days", 1, 10**6),
            ("item_share", 0, 0.9),
            ("conversion_delay_days", 0, 365),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"--{name}={getattr(self, name)}: allowed is {low:g} to {high:g}")
        try:
            datetime.date.fromisoformat(self.first_day)
        except ValueError as error:
            raise ValueError(f"--first_day={self.first_day}: allowed is a date, YYYY-MM-DD") from error

    def date(self, day: int) -> datetime.date:
        """Date of a day, counted from 0."""
        return datetime.date.fromisoformat(self.first_day) + datetime.timedelta(day)

    def requests(self, day: int, mean: int) -> int:
        """Requests of a day of the week, where a week has `mean` a day."""
        return round(mean * REQUESTS[self.date(day).weekday()])

    def click_logit(self, day: int) -> float:
        """What the weekday adds to every click logit."""
        return CLICK_LOGIT[self.date(day).weekday()]

    def turn(self, day: int) -> tuple[int, float, float]:
        """How effects stand on a day: the quarter turn, and the weights of its first and its last normal number."""
        quarters, angle = divmod(self.drift * day, QUARTER_TURN)
        return int(quarters), round(math.cos(angle), 6), round(math.sin(angle), 6)


def holders(stream: np.ndarray, places: np.ndarray, size: int, day: int, life: float) -> np.ndarray:
    """Who holds some places on a day: int64 [n] -> int64 [n], place + size * generation.

    Args:
        stream: state of a random stream, uint64 [1]; tells when in a life each place begins.
        places: int64 [n] in [0, size).
        size: number of places.
        day: from 0.
        life: days from one holder to the next.
    """
    age = randomness.unit(randomness.bits(stream, places)) * life
    return places + size * ((age + day) / life).astype(np.int64)
