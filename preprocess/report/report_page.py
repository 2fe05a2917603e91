"""The report as one HTML page that needs no other file."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from features import names, reject_reasons
from preprocess.options import MIB
from preprocess.report import pictures
from preprocess.report.pictures import Bar

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #333; max-width: 1000px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.6em } h2 { font-size: 1.2em; margin-top: 2.2em; border-bottom: 1px solid #ddd }
svg { font: 12px system-ui, sans-serif; max-width: 100%; height: auto }
table { border-collapse: collapse; font-size: 13px }
td, th { padding: 2px 10px; text-align: right; border-bottom: 1px solid #eee }
td:first-child, th:first-child { text-align: left }
.legend i { display: inline-block; width: 12px; height: 12px; margin: 0 4px 0 14px }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 12px; background: #f6f6f6; padding: 6px }
"""


def page(report: dict[str, Any]) -> str:
    """The page of a report, given as the contents of report.json."""
    sections = [
        ("Read this first", _warnings(report)),
        ("Splits", _splits(report)),
        ("Against the day before", _previous(report)),
        ("Labels", _labels(report)),
        ("Conversion window", _conversions(report)),
        ("By day", _days(report)),
        ("How often ids occur", _frequencies(report)),
        ("Ids kept and dropped, by field", _kept(report)),
        ("Values that the vocabulary does not have", _unknown(report)),
        ("Coverage: impressions that have the field", _coverage(report)),
        ("Fields", _fields(report)),
        ("Rejected rows", _rejected(report)),
        ("Time", _time(report)),
    ]
    body = "\n".join(f"<h2>{title}</h2>\n{content}" for title, content in sections if content)
    read = report["input"]
    size = f"{read['bytes'] / MIB:,.1f} MiB in {len(read['files'])} files"
    intro = f"<p>{read['rows']:,} rows, {size} of format {read['format']}.</p>"
    head = '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Preprocess report</title>'
    title = "<h1>Preprocess report</h1>"
    return f"{head}<style>{_STYLE}</style></head>\n<body>{title}\n{intro}\n{body}\n</body></html>\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"]
    cells += ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return "<table>" + "\n".join(cells) + "</table>"


def _legend(*entries: tuple[str, str]) -> str:
    return (
        '<p class="legend">' + "".join(f'<i style="background:{color}"></i>{text}' for color, text in entries) + "</p>"
    )


def _warnings(report: dict[str, Any]) -> str:
    texts = [*report["faults"], *report["warnings"]]
    return "<ul>" + "\n".join(f"<li>{html.escape(text)}</li>" for text in texts) + "</ul>" if texts else ""


def _splits(report: dict[str, Any]) -> str:
    counted = ("requests", "impressions", "clicks", "conversions", "impressions_without_context", "records", "files")
    head = ["", *(name.replace("_", " ") for name in counted), "MiB", "bytes per impression", "before compression"]
    rows = []
    for split, found in report["splits"].items():
        each = [found[size] / max(found["impressions"], 1) for size in ("bytes", "plain_bytes")]
        sizes = [f"{found['bytes'] / MIB:,.1f}", *(f"{size:,.1f}" for size in each)]
        rows.append([split, *(f"{found[name]:,}" for name in counted), *sizes])
    return _table(head, rows)


def _previous(report: dict[str, Any]) -> str:
    found = report["previous"]
    notes = "".join(f"<p><b>warning</b>: {html.escape(text)}</p>" for text in found["warnings"])
    if "generation" not in found:
        return notes
    made = found["generation"]
    numbers = ", ".join(f"{made[name]:,} {name}" for name in ("carried", "added", "evicted", "pending"))
    intro = (
        f"<p>Vocabulary of generation {made['number']}, whose parent has the checksum {made['parent']}: {numbers}.</p>"
    )
    rates = [[name.replace("_", " "), *map(_share, rate.values())] for name, rate in found["rates"].items()]
    rows = [
        [
            name,
            f"{field['added_ids']:,}",
            f"{field['evicted_ids']:,}",
            _share(field["new_share"]),
            *map(_share, field["coverage"].values()),
            "–" if field["psi"] is None else f"{field['psi']:.3f}",
        ]
        for name, field in found["fields"].items()
    ]
    head = ["", "ids added", "evicted", "values with new ids", "coverage before", "now", "population stability index"]
    return notes + intro + _table(["", "before", "now"], rates) + _table(head, rows)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"


def _labels(report: dict[str, Any]) -> str:
    rows: list[Bar] = []
    for split, found in report["splits"].items():
        shown, clicks = max(found["impressions"], 1), max(found["clicks"], 1)
        notes = {
            "impressions": f"{found['impressions']:,}",
            "clicks": f"{found['clicks']:,} ({found['clicks'] / shown:.2%} of impressions)",
            "conversions": f"{found['conversions']:,} ({found['conversions'] / clicks:.2%} of clicks)",
        }
        if weighted := found.get("weighted"):
            shares = _weighted_rates(weighted)
            notes["clicks"] += f", {shares[0]} by weight"
            notes["conversions"] += f", {shares[1]} by weight"
        rows += [pictures.log_bar(f"{split}: {name}", found[name], shown, note) for name, note in notes.items()]
    return pictures.bars(rows, "Label distribution") + "<p>Lengths are to a logarithmic scale.</p>"


def _days(report: dict[str, Any]) -> str:
    days = report["days"]
    rows = [
        [day, f"{found['impressions']:,}", f"{found['click_rate']:.2%}", f"{found['conversion_rate']:.2%}"]
        for day, found in days.items()
    ]
    head = ["day (UTC)", "impressions", "click rate", "conversion rate of clicks"]
    if any("weighted" in found for found in days.values()):
        head += ["weight", "click rate by weight", "conversion rate by weight"]
        for row, found in zip(rows, days.values(), strict=True):
            row += [f"{found['weighted']['impressions']:,.6g}", *_weighted_rates(found["weighted"])]
    return _table(head, rows) if rows else ""


def _conversions(report: dict[str, Any]) -> str:
    rows = [[name.replace("_", " "), str(value)] for name, value in report["conversions"].items()]
    return _table(["", ""], rows) if rows else ""


def _weighted_rates(found: dict[str, float]) -> list[str]:
    """Click rate and conversion rate of clicks."""
    pairs = (("clicks", "impressions"), ("conversions", "clicks"))
    return [f"{found[part] / found[whole] if found[whole] else 0:.2%}" for part, whole in pairs]


def _frequencies(report: dict[str, Any]) -> str:
    found, cutoff = report["frequencies"], report["vocabulary"]["min_count"]
    if not found["count"]:
        return ""
    bins = pictures.frequency_bins(found["count"], found["ids"], cutoff)
    kept, ids = report["vocabulary"]["kept_ids"], report["vocabulary"]["ids"]
    text = (
        f"<p>{kept:,} of {ids:,} ids occur in {cutoff} or more impressions of the {names.TRAIN} split and are kept.</p>"
    )
    return text + pictures.histogram(bins, cutoff, "Histogram of id frequencies")


def _kept(report: dict[str, Any]) -> str:
    rows = []
    for name, field in report["fields"].items():
        if field.get("ids"):
            share = field["kept_ids"] / field["ids"]
            rows.append(Bar(name, (share, 1 - share), f"{field['kept_ids']:,} of {field['ids']:,}"))
    legend = _legend((pictures.KEPT, "kept"), (pictures.DROPPED, "dropped: too rare"))
    return legend + pictures.bars(rows, "Ids kept by field", largest=1) if rows else ""


def _unknown(report: dict[str, Any]) -> str:
    rows = []
    for name, field in report["fields"].items():
        for split, found in field["splits"].items():
            share = found["unknown_share"]
            rows.append(Bar(f"{name}, {split}", (share, 1 - share), f"{share:.2%} of {found['values']:,} values"))
    legend = _legend((pictures.LINE, "rare or never seen in train"), (pictures.DROPPED, "known"))
    return legend + pictures.bars(rows, "Unknown values by field", (pictures.LINE, pictures.DROPPED), 1)


def _coverage(report: dict[str, Any]) -> str:
    split = next(iter(report["splits"]))
    rows = []
    for name, field in report["fields"].items():
        found = field["splits"][split]
        note = f"{found['coverage']:.1%}"
        if field["kind"] == "many":
            note += f", mean {found['mean_length']:.1f} values, at most {found['max_length']:,}"
        rows.append(Bar(name, (found["coverage"],), note))
    return pictures.bars(rows, "Coverage by field", largest=1) + f"<p>Of the split {html.escape(split)}.</p>"


def _fields(report: dict[str, Any]) -> str:
    head = ["field", "group", "side", "kind", "type", "weighted"]
    rows = [
        [name, field["group"], field["side"], field["kind"], field["type"], "yes" if field["weighted"] else "no"]
        for name, field in report["fields"].items()
    ]
    unknown = report["input"]["unknown_fields"]
    text = "".join(
        f"<p>Not in the schema: {html.escape(name)}, {count:,} features.</p>" for name, count in unknown.items()
    )
    return _table(head, rows) + text


def _rejected(report: dict[str, Any]) -> str:
    if not report["rejected"]:
        return "<p>None.</p>"
    rows = [Bar(reason, (count,), f"{count:,}") for reason, count in report["rejected"].items()]
    texts = _table(["reason", "what it is"], [[r, reject_reasons.DESCRIPTIONS[r]] for r in report["rejected"]])
    samples = "\n".join(
        f"{sample['file']} at {sample['offset']}: {sample['reason']}\n{sample['row'][:300]}"
        for sample in report["samples"][:10]
    )
    picture = pictures.bars(rows, "Rejected rows by reason", (pictures.LINE,))
    return f"{picture}{texts}<pre>{html.escape(samples)}</pre>"


def _time(report: dict[str, Any]) -> str:
    *steps, (_, total) = report["seconds"].items()
    rows = [Bar(label, (seconds,), f"{seconds:.1f} s") for label, seconds in steps]
    speed = report["input"]["bytes"] / 1e6 / max(total, 1e-9)
    return pictures.bars(rows, "Seconds by step") + f"<p>{total:.1f} s in all, {speed:.1f} MB of raw log a second.</p>"
