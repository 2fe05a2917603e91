"""Pictures of the model report as SVG texts to be set into its page. Names of models stand in the page, not in here."""

from __future__ import annotations

import dataclasses
import io
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np

# Without pyplot, which would look for a display.
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from model_fn import score_histogram
from trainer.event_files import Curve

# One for each of the first models: no more can be told apart. The others share one, and lie below.
COLORS = (
    "#2a6f97",
    "#c1121f",
    "#e09f3e",
    "#4f8a3c",
    "#7b4fa0",
    "#333333",
    "#17a398",
    "#e56b9a",
    "#8d6b48",
    "#8a97a3",
)
OTHERS_COLOR = "#d4d4d4"
# One for each folder of evaluations; more take turns.
DASHES = ("-", "--", ":")
_GREY = "#999"
_GRID = "#ddd"
_COLUMNS = 3
# Inches, with what stands around a panel.
_PANEL_WIDTH, _PANEL_HEIGHT, _CALIBRATION_HEIGHT = 3.3, 2.2, 3.35
_LEFT, _RIGHT, _BELOW, _ABOVE = 0.62, 0.1, 0.45, 0.25
# A value of a field in a picture by values: inches of its row, and letters of its name that fit beside it.
_ROW_HEIGHT = 0.17
_LONGEST_LABEL = 10
# Text stays text, which the page's font and the reader's search can reach.
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "model report",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.edgecolor": "#bbb",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": "#333",
    "axes.labelcolor": "#333",
    "xtick.color": "#666",
    "ytick.color": "#666",
}
# Curves with more points than this are drawn smooth over a faint copy of themselves.
_MANY_POINTS = 60
# The first part of such a curve, where a loss falls from its start, does not set the scale.
_START = 0.1


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve and how to draw it."""

    curve: Curve
    color: str
    dashes: str = DASHES[0]


@dataclasses.dataclass(frozen=True)
class Panel:
    """Lines in one pair of axes.

    Attributes:
        title: above it.
        lines: in it.
        reference: height of a grey line, if any.
        logarithmic: whether the scale of the values is.
        axis: name of the horizontal axis.
    """

    title: str
    lines: Sequence[Line]
    reference: float | None = None
    logarithmic: bool = False
    axis: str = "step"


@dataclasses.dataclass(frozen=True)
class Dots:
    """Mean pCVR of a model over clicked, unclicked and all impressions, the observed rate and its standard error."""

    means: Sequence[float]
    observed: float
    error: float
    color: str


@dataclasses.dataclass(frozen=True)
class Cloud:
    """Points: a setting's values and what came out. Where `words` are given, a place is that of a word."""

    title: str
    places: Sequence[float]
    heights: Sequence[float]
    logarithmic: bool = False
    words: Sequence[str] = ()


class Interval(NamedTuple):
    """A value and its standard error."""

    value: float
    error: float


# A panel's title, its points (colour, row, value) and the values of grey lines.
ByValue = tuple[str, Sequence[tuple[str, int, Interval]], Sequence[float]]

# Markers of `Dots.means`, as matplotlib and as text.
MARKERS = (("o", "●"), ("s", "■"), ("|", "|"))


def colors(count: int) -> list[str]:
    """The colours of so many models."""
    return [*COLORS, *[OTHERS_COLOR] * (count - len(COLORS))][:count]


def curves(panels: Sequence[Panel], name: str) -> str:
    """Panels in rows of three: values over steps.

    Args:
        panels: to draw.
        name: of the picture, unlike those of the page's others.
    """
    rows = math.ceil(len(panels) / _COLUMNS)
    with matplotlib.rc_context(_SETTINGS):
        figure = _figure(rows, _COLUMNS, _PANEL_HEIGHT)
        for number, panel in enumerate(panels):
            axes = figure.add_subplot(rows, _COLUMNS, number + 1)
            _draw_panel(axes, panel)
            if number + _COLUMNS >= len(panels):
                axes.set_xlabel(panel.axis)
        return _svg(figure, name)


def _draw_panel(axes: Axes, panel: Panel) -> None:
    axes.set_title(panel.title, loc="left")
    if panel.logarithmic:
        axes.set_yscale("log")
    if panel.reference is not None:
        axes.axhline(panel.reference, color=_GREY, linewidth=1)
    for line in sorted(panel.lines, key=lambda line: line.color != OTHERS_COLOR):
        steps, values = line.curve
        if len(steps) > _MANY_POINTS:
            axes.plot(steps, values, color=line.color, linewidth=0.6, alpha=0.25)
            axes.plot(steps, smooth(values), line.dashes, color=line.color, linewidth=1.5)
        else:
            axes.plot(steps, values, line.dashes, color=line.color, linewidth=1.2, marker="o", markersize=2.5)
    axes.set_xlim(left=0)
    axes.set_ylim(*_limits(panel))
    axes.grid(True, color=_GRID, linewidth=0.6)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    if panel.logarithmic:
        _set_logarithmic_ticks(axes.yaxis)


def smooth(values: np.ndarray) -> np.ndarray:
    """Means over a tenth of the curve around each point, over less at its ends: float64 [points]."""
    half = len(values) // 20
    total = np.concatenate([[0.0], np.cumsum(values)])
    middle = np.arange(len(values))
    reach = np.minimum(half, np.minimum(middle, middle[::-1]))
    return (total[middle + reach + 1] - total[middle - reach]) / (2 * reach + 1)


def _limits(panel: Panel) -> tuple[float, float]:
    """Ends of the scale: all values, but those of the start of a long curve, and the reference."""
    shown = [np.array([] if panel.reference is None else [panel.reference])]
    for line in panel.lines:
        steps, values = line.curve
        if len(steps) > _MANY_POINTS:
            values = smooth(values)[steps >= steps[0] + _START * (steps[-1] - steps[0])]
        shown.append(values)
    heights = np.concatenate(shown)
    low, high = float(heights.min()), float(heights.max())
    if panel.logarithmic:
        return low / 1.15, high * 1.15
    margin = 0.08 * (high - low) or abs(high) * 0.05 or 1.0
    return low - margin, high + margin


def calibration(tables: Sequence[tuple[str, Sequence[tuple[np.ndarray, str]]]], name: str) -> str:
    """A panel for each task: mean label against mean prediction of each decile.

    Args:
        tables: title of a panel; in it for each model its table, float64 [deciles, 3], and colour.
        name: of the picture.
    """
    with matplotlib.rc_context(_SETTINGS):
        figure = _figure(1, len(tables), _CALIBRATION_HEIGHT)
        for number, (title, models) in enumerate(tables):
            axes = figure.add_subplot(1, len(tables), number + 1, xscale="log", yscale="log")
            _draw_calibration(axes, models)
            axes.set_title(title, loc="left")
            axes.set_xlabel("mean prediction")
            if number == 0:
                axes.set_ylabel("mean label")
        return _svg(figure, name)


def _draw_calibration(axes: Axes, models: Sequence[tuple[np.ndarray, str]]) -> None:
    drawn = [(table[table[:, score_histogram.MEAN_LABEL] > 0], color) for table, color in models]
    if not any(len(table) for table, _ in drawn):
        axes.text(0.5, 0.5, "no positives", ha="center", va="center", transform=axes.transAxes)
        return
    ends = _ends(np.concatenate([table[:, 1:].ravel() for table, _ in drawn]))
    axes.plot(ends, ends, color=_GREY, linewidth=1)
    for table, color in sorted(drawn, key=lambda one: one[1] != OTHERS_COLOR):
        count, predicted, observed = table.T
        error = np.sqrt(observed * (1 - observed) / count)
        # A bar down to 0 has no end on this scale.
        bars = [np.minimum(error, 0.99 * observed), error]
        axes.errorbar(predicted, observed, bars, fmt="o-", color=color, markersize=3.5, linewidth=1.2, elinewidth=0.7)
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_box_aspect(1)
    axes.grid(True, color=_GRID, linewidth=0.6)
    for axis in (axes.xaxis, axes.yaxis):
        _set_logarithmic_ticks(axis)


def _set_logarithmic_ticks(axis: Axis) -> None:
    """A handful of plain numbers, whether the scale spans a tenth or many powers of ten."""
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    if decades < 0.7:
        axis.set_major_locator(ticker.MaxNLocator(4))
    else:
        axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0) if decades < 1.4 else (1.0,), numticks=8))
    axis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axis.set_minor_locator(ticker.NullLocator())


def _ends(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()) / 1.4, float(values.max()) * 1.4


def mean_predictions(models: Sequence[Dots], name: str) -> str:
    """A row for each model: its mean pCVR by space beside the observed rate.

    Args:
        models: from the top.
        name: of the picture.
    """
    with matplotlib.rc_context(_SETTINGS):
        figure = _figure(1, 1, _ABOVE + _BELOW + 0.36 * len(models), _COLUMNS * _PANEL_WIDTH)
        axes = figure.add_subplot()
        for row, model in enumerate(models):
            low, high = model.observed - model.error, model.observed + model.error
            axes.fill_betweenx([row - 0.35, row + 0.35], low, high, color=_GRID, linewidth=0)
            axes.plot([model.observed] * 2, [row - 0.35, row + 0.35], color=_GREY, linewidth=1.5)
            axes.plot([min(model.means), max(model.means)], [row, row], color=model.color, linewidth=1, alpha=0.5)
            for mean, (marker, _) in zip(model.means, MARKERS, strict=True):
                axes.plot(mean, row, marker, color=model.color, markersize=13 if marker == "|" else 7)
        axes.set_ylim(len(models) - 0.5, -0.5)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlim(left=0)
        axes.margins(x=0.08)
        axes.grid(True, axis="x", color=_GRID, linewidth=0.6)
        axes.set_xlabel("mean pCVR; conversions per click")
        return _svg(figure, name)


def clouds(panels: Sequence[Cloud], height: str, name: str) -> str:
    """Panels in rows of three: points whose scale of heights is one.

    Args:
        panels: to draw.
        height: what the heights are.
        name: of the picture.
    """
    rows = math.ceil(len(panels) / _COLUMNS)
    with matplotlib.rc_context(_SETTINGS):
        figure = _figure(rows, _COLUMNS, _PANEL_HEIGHT)
        for number, panel in enumerate(panels):
            axes = figure.add_subplot(rows, _COLUMNS, number + 1)
            axes.set_title(panel.title, loc="left")
            axes.plot(panel.places, panel.heights, "o", color=COLORS[0], markersize=4, alpha=0.7)
            axes.grid(True, color=_GRID, linewidth=0.6)
            axes.yaxis.set_major_locator(ticker.MaxNLocator(4))
            if panel.words:
                axes.set_xlim(-0.5, len(panel.words) - 0.5)
                axes.set_xticks(range(len(panel.words)), [_short(word) for word in panel.words])
            elif panel.logarithmic:
                axes.set_xscale("log")
            if number % _COLUMNS == 0:
                axes.set_ylabel(height)
        return _svg(figure, name)


def by_value(values: Sequence[str], panels: Sequence[ByValue], name: str) -> str:
    """Panels side by side with a row for each value of a field, from the top.

    Args:
        values: texts of the rows.
        panels: to draw.
        name: of the picture.
    """
    with matplotlib.rc_context(_SETTINGS):
        figure = _figure(1, len(panels), _ABOVE + _BELOW + _ROW_HEIGHT * len(values))
        for place, (title, points, overall) in enumerate(panels):
            axes = figure.add_subplot(1, len(panels), place + 1)
            axes.set_title(title, loc="left")
            for value in overall:
                axes.axvline(value, color=_GREY, linewidth=1)
            for color, row, (value, error) in points:
                axes.errorbar(value, row, xerr=error, fmt="o", color=color, markersize=3.5, elinewidth=0.7)
            axes.set_ylim(len(values) - 0.5, -0.5)
            axes.set_yticks(range(len(values)), [_short(value) for value in values] if place == 0 else [])
            axes.xaxis.set_major_locator(ticker.MaxNLocator(4))
            axes.grid(True, color=_GRID, linewidth=0.6)
        return _svg(figure, name)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1] + "…"


def _figure(rows: int, columns: int, height: float, width: float = _PANEL_WIDTH) -> Figure:
    """A figure of panels of a size in inches. Fixed margins: matplotlib's layouts draw several times to find theirs."""
    figure = Figure(figsize=(columns * width, rows * height))
    figure.subplots_adjust(
        left=_LEFT / (columns * width),
        right=1 - _RIGHT / (columns * width),
        bottom=_BELOW / (rows * height),
        top=1 - _ABOVE / (rows * height),
        wspace=(_LEFT + _RIGHT) / (width - _LEFT - _RIGHT),
        hspace=(_BELOW + _ABOVE) / (height - _BELOW - _ABOVE),
    )
    return figure


def _svg(figure: Figure, name: str) -> str:
    """The <svg> element, its ids made different from those of the page's other pictures."""
    file = io.StringIO()
    FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1)
