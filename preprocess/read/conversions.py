"""Which conversions count: those that came within a window of their click, and before the log was cut.

A conversion that comes later than the log was written is not in it, so a young click without one may still have it. How
many such clicks there are is told, and the youngest impressions can be held back for a later run, or their clicks be
weighed by how many of the window's conversions have come at their age (`delays`). Chapelle 2014, and Yasui et al.
2020, say what training on them as they are does: it takes conversions that are under way for none.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np

from features.raw_log.table import RawTable
from preprocess.read import delays

# What is counted.
CLICKS, OPEN, WAITING = "clicks", "open_clicks", "open_clicks_without_conversion"
LATE, AFTER_CUT, HELD_BACK = "late_conversions", "conversions_after_cut", "held_back_impressions"


@dataclasses.dataclass(frozen=True)
class Window:
    """When a conversion counts.

    Attributes:
        length: seconds from the click to the last conversion that counts; None: all do.
        cut: seconds since 1970 at which the log was written; None: unknown.
        hold_back: impressions of so many seconds before the cut are left out.
        weigh_open: whether it is wanted how old open clicks are, and how soon conversions come.
    """

    length: int | None = None
    cut: int | None = None
    hold_back: int = 0
    weigh_open: bool = False

    def held_back(self, table: RawTable) -> np.ndarray:
        """Rows that a later run shall have: bool [rows]. Those behind the cut are none of this log."""
        if self.cut is None or table.time is None:
            return np.zeros(len(table.defects), bool)
        return table.time >= self.cut - self.hold_back

    def judge(self, table: RawTable, used: np.ndarray) -> Judged:
        """The conversions that count, and what was found.

        Args:
            table: with labels and their times.
            used: rows that are counted, bool [rows].
        """
        assert table.click is not None and table.conversion is not None
        never = np.full(len(table.click), np.inf, np.float32)
        if self.length is None or table.click_time is None or table.conversion_time is None:
            return Judged(table.conversion, never, delays.nothing(), Counter())
        clicked, converted = table.click > 0, table.conversion > 0
        late = converted & (table.conversion_time > table.click_time + self.length)
        cut = np.inf if self.cut is None else self.cut
        unseen = converted & ~late & (table.conversion_time >= cut)
        counts = converted & ~late & ~unseen
        still_open = clicked & (table.click_time + self.length >= cut)
        found = {
            CLICKS: clicked,
            OPEN: still_open,
            WAITING: still_open & ~counts,
            LATE: late,
            AFTER_CUT: unseen,
        }
        age, soon = never, delays.nothing()
        if self.weigh_open:
            age = np.where(still_open, cut - table.click_time, np.inf).astype(np.float32)
            told = counts & used
            delay = table.conversion_time[told] - table.click_time[told]
            soon = delays.count(delay, age[told], self.length)
        sums = Counter({name: int((rows & used).sum()) for name, rows in found.items()})
        return Judged(counts.astype(np.uint8), age, soon, sums)


@dataclasses.dataclass(frozen=True)
class Judged:
    """What a window made of some rows.

    Attributes:
        conversion: the label, uint8 [rows].
        age: seconds from the click to the cut of clicks whose window is open, infinite elsewhere: float32 [rows].
        delays: of the conversions that count, as `delays.count` gives them; with `Window.weigh_open` only.
        counts: by the names of this module.
    """

    conversion: np.ndarray
    age: np.ndarray
    delays: np.ndarray
    counts: Counter[str]


EVERY_CONVERSION = Window()
