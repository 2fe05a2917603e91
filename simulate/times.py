"""When impressions are shown, clicked and converted, in a world whose conversions come late."""

from __future__ import annotations

import dataclasses
import datetime

import numpy as np

from simulate import randomness
from simulate.calendar import Calendar
from simulate.exposure import Requests

DAY_SECONDS = 86400
# An impression of a request is seen so long after the one before, and clicked within so much of that.
SECONDS_AN_IMPRESSION = 2
SLOWEST_CLICK = 60


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds since 1970 in UTC, int64 [impressions] each.

    Attributes:
        shown: of the impression.
        click: of the click, had there been one.
        conversion: of the conversion, had there been one.
    """

    shown: np.ndarray
    click: np.ndarray
    conversion: np.ndarray


def draw(requests: Requests, seed: int, calendar: Calendar) -> Times:
    """Times of some requests, whatever was drawn before."""
    midnight = datetime.datetime.combine(calendar.date(requests.day), datetime.time(), datetime.timezone.utc)
    of_request = randomness.unit(randomness.bits(requests.states + randomness.stream(seed, "hour"), np.zeros(1)))
    begin = int(midnight.timestamp()) + (of_request * DAY_SECONDS).astype(np.int64)
    shown = begin[requests.rows] + requests.numbers * SECONDS_AN_IMPRESSION
    random_bits = requests.impression_bits(seed, "times")
    click = shown + 1 + randomness.lane(random_bits, 0) * SLOWEST_CLICK // randomness.LANES
    delay = randomness.exponential_table()[randomness.lane(random_bits, 1)] * calendar.conversion_delay_days
    return Times(shown, click, click + 1 + (delay * DAY_SECONDS).astype(np.int64))
