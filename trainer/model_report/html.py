"""Parts of the model report's page: its frame, tables, legends. Texts given to them are HTML already."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from trainer.model_report.pictures import COLORS, OTHERS_COLOR, colors
from trainer.model_report.trained_model import TrainedModel

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #333; max-width: 1000px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.6em } h2 { font-size: 1.2em; margin-top: 2.2em; border-bottom: 1px solid #ddd }
svg { max-width: 100%; height: auto } svg text { font-family: system-ui, sans-serif !important }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
td, th { padding: 2px 10px; text-align: right; border-bottom: 1px solid #eee; vertical-align: bottom }
td:first-child, th:first-child, td:has(i) { text-align: left }
tbody tr:last-child td { border-bottom-color: #aaa } td { white-space: nowrap }
i { display: inline-block; width: 12px; height: 12px; margin: 0 5px 0 0; vertical-align: -1px }
.legend span { margin-right: 16px } .wide { overflow-x: auto } small { color: #777; font-weight: normal }
.note { border-left: 3px solid #c1121f; padding: 2px 10px; background: #f6f6f6 }
details { margin: 0.8em 0 } summary { cursor: pointer }
"""


def beginning(title: str) -> str:
    """How a page of a title begins."""
    return f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'


def document(title: str, intro: str, sections: Iterable[tuple[str, str]]) -> str:
    """A page: sections of a heading and their content; those without content are left out."""
    body = "\n".join(f"<h2>{heading}</h2>\n{content}" for heading, content in sections if content)
    return (
        f"{beginning(title)}<style>{_STYLE}</style></head>\n<body><h1>{title}</h1>\n{intro}\n{body}\n</body></html>\n"
    )


def table(head: Sequence[str], *groups: Iterable[Sequence[str]]) -> str:
    """A table of groups of rows, a line between them."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    bodies = "\n".join("<tbody>" + "\n".join(map(_row, rows)) + "</tbody>" for rows in groups)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead>\n{bodies}</table></div>'


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def paragraph(text: str) -> str:
    """A paragraph."""
    return f"<p>{text}</p>\n"


def note(text: str) -> str:
    """Something to beware of."""
    return f'<p class="note">{text}</p>\n'


def folded(title: str, content: str) -> str:
    """Content that a click on its title unfolds."""
    return f"<details><summary>{title}</summary>{content}</details>\n"


def names(models: Sequence[TrainedModel]) -> list[str]:
    """Names of the models behind their colours."""
    return [_swatch(color) + html.escape(model.label) for color, model in zip(colors(len(models)), models, strict=True)]


def _swatch(color: str) -> str:
    return f'<i style="background:{color}"></i>'


def models_legend(models: Sequence[TrainedModel]) -> str:
    """What the colours mean; nothing for one model."""
    if len(models) < 2:
        return ""
    others = len(models) - len(COLORS)
    return legend(names(models)[: len(COLORS)] + [f"{_swatch(OTHERS_COLOR)}{others} others"] * (others > 0))


def legend(entries: Iterable[str]) -> str:
    """What colours or signs mean, in a line."""
    return '<p class="legend">' + " ".join(f"<span>{entry}</span>" for entry in entries) + "</p>\n"


def number(value: float | None, form: str) -> str:
    """A number by a format; a dash where it is absent."""
    return "–" if value is None else format(value, form)
