"""Pictures of a report as SVG texts. A plotting library would take longer to load than a small job to run."""

from __future__ import annotations

import dataclasses
import html
import itertools
import math
from collections.abc import Sequence

KEPT, DROPPED, LINE, TEXT = "#2a6f97", "#c9d6df", "#c1121f", "#333"
_ROW = 24
_LABEL_WIDTH = 190
_BAR_WIDTH = 420
_VALUE_WIDTH = 280


@dataclasses.dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        label: left of it.
        parts: lengths of its parts, drawn one after another.
        note: right of it.
    """

    label: str
    parts: tuple[float, ...]
    note: str


def bars(rows: Sequence[Bar], title: str, colors: Sequence[str] = (KEPT, DROPPED), largest: float = 0) -> str:
    """Horizontal bars, all to one scale, of which `largest` (or the longest bar) fills the width."""
    largest = largest or max((sum(row.parts) for row in rows), default=0) or 1
    body = []
    for number, row in enumerate(rows):
        y, x = number * _ROW, float(_LABEL_WIDTH)
        body.append(_text(_LABEL_WIDTH - 8, y + 16, row.label, "end"))
        for part, color in zip(row.parts, colors, strict=False):
            width = part / largest * _BAR_WIDTH
            body.append(
                f'<rect x="{x:.1f}" y="{y + 4}" width="{max(width, 0):.2f}" height="{_ROW - 8}" fill="{color}"/>'
            )
            x += width
        body.append(_text(x + 6, y + 16, row.note))
    return _svg(_LABEL_WIDTH + _BAR_WIDTH + _VALUE_WIDTH, _ROW * max(len(rows), 1) + 4, title, body)


def log_bar(label: str, value: float, largest: float, note: str) -> Bar:
    """A bar whose length is the logarithm of its value: for values of very different size."""
    return Bar(label, (math.log10(value + 1) / math.log10(largest + 1) if largest else 0.0,), note)


@dataclasses.dataclass(frozen=True)
class Bin:
    """Ids that occur from `low` to `high` times, both included."""

    low: int
    high: int
    ids: int


def frequency_bins(counts: Sequence[int], ids: Sequence[int], cutoff: int | None) -> list[Bin]:
    """Bins of doubling width, cut at the cutoff as well, so that no bin is partly kept."""
    largest = max(counts, default=0)
    edges = {1 << power for power in range(largest.bit_length() + 1)} | ({cutoff} if cutoff else set())
    ordered = sorted(edge for edge in edges if edge <= 2 * largest)
    return [
        Bin(low, end - 1, sum(n for count, n in zip(counts, ids, strict=True) if low <= count < end))
        for low, end in itertools.pairwise(ordered)
    ]


_HEIGHT, _COLUMN, _LEFT, _TOP = 230, 34, 70, 26


def histogram(bins: Sequence[Bin], cutoff: int | None, title: str) -> str:
    """Columns of bins, heights to a logarithmic scale, with a line at the cutoff."""
    tallest = max((found.ids for found in bins), default=0)
    decades = max(math.ceil(math.log10(tallest + 1)), 1)
    body = []
    for decade in range(decades + 1):
        y = _TOP + _HEIGHT * (1 - decade / decades)
        body.append(f'<line x1="{_LEFT}" x2="{_LEFT + _COLUMN * len(bins)}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        body.append(_text(_LEFT - 8, y + 4, f"{10**decade:,}", "end"))
    for number, found in enumerate(bins):
        height = math.log10(found.ids + 1) / decades * _HEIGHT
        x, y = _LEFT + number * _COLUMN, _TOP + _HEIGHT - height
        kept = cutoff is None or found.low >= cutoff
        tip = f"<title>{found.low:,} to {found.high:,} impressions: {found.ids:,} ids</title>"
        fill = KEPT if kept else DROPPED
        body.append(
            f'<rect x="{x + 2}" y="{y:.1f}" width="{_COLUMN - 4}" height="{height:.1f}" fill="{fill}">{tip}</rect>'
        )
        body.append(_text(x + 4, _TOP + _HEIGHT + 16, _short(found.low)))
        if cutoff is not None and found.low == cutoff:
            body.append(
                f'<line x1="{x}" x2="{x}" y1="{_TOP - 8}" y2="{_TOP + _HEIGHT}" stroke="{LINE}" stroke-width="2"/>'
            )
            body.append(_text(x + 5, _TOP - 6, f"kept from {cutoff} on", color=LINE))
    body.append(_text(_LEFT, _TOP + _HEIGHT + 36, "impressions in which an id occurs, from"))
    return _svg(_LEFT + _COLUMN * max(len(bins), 6) + 130, _TOP + _HEIGHT + 46, title, body)


def _short(number: int) -> str:
    for size, suffix in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.{2 if number < 100 * size else 3}g}{suffix}"
    return str(number)


def _text(x: float, y: float, text: str, anchor: str = "start", color: str = TEXT) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}">{html.escape(text)}</text>'


def _svg(width: float, height: float, title: str, body: Sequence[str]) -> str:
    head = f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" xmlns="http://www.w3.org/2000/svg">'
    return "\n".join([head, f"<title>{html.escape(title)}</title>", *body, "</svg>"])
