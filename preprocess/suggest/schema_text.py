"""The schema file: what the sample tells of each column, with the reasons as comments."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from features import names
from features.schema import CONTEXT, ID, IMPRESSION, MANY, NUMBER, ONE, STRING, VECTOR
from preprocess.suggest import columns
from preprocess.suggest.columns import Label, Purposes
from preprocess.suggest.facts import Facts
from preprocess.suggest.sample import Sample

_QUANTITY_NAMES = re.compile(
    r".*(price|amount|cost|fee|score|rate|ratio|count|cnt|num|days|age|duration|length|position|rank|history|recency)",
    re.I,
)
_CONTEXT_NAMES = re.compile(
    r"(user|uid|member|customer|visitor|device|os|age|gender|sex|geo|city|country|region|zip|hour|weekday|occupation).*",
    re.I,
)
_QUANTILES = 20
_LEAST_QUANTITIES = 30
_LEAST_VECTOR = 4


def write(sample: Sample, facts: Mapping[str, Facts], purposes: Purposes) -> str:
    """Text of the file."""
    named = {purposes.click.column, purposes.conversion.column, purposes.sample_id, purposes.weight}
    weights = _weight_columns(facts)
    others = [fact for name, fact in facts.items() if name not in named]
    reasons = {fact.name: _left_out(fact, purposes, weights) for fact in others}
    chosen = [fact for fact in others if not reasons[fact.name]]
    context = {fact.name for fact in chosen if _is_context(fact, purposes)}
    if len(context) == len(chosen):
        context = set()  # else nothing would tell the impressions of a request apart
    lines = [*_head(sample, facts, purposes), "fields:"]
    for fact in chosen:
        lines += [f"  # {_told(fact)}", f"  - {_flow(_field(fact, fact.name in context, weights))}"]
    left_out = [fact for fact in others if reasons[fact.name]]
    lines += [f"  # {_quoted(fact.name)}: left out, {reasons[fact.name]}. {_told(fact)}" for fact in left_out]
    return "\n".join(lines) + "\n"


def _head(sample: Sample, facts: Mapping[str, Facts], purposes: Purposes) -> Iterator[str]:
    files = ", ".join(os.path.basename(file) for file in sample.files[:3])
    rest = f" and {len(sample.files) - 3} more" if len(sample.files) > 3 else ""
    yield f"# From {sample.rows:,} rows of {ascii(files)[1:-1]}{rest}. Read it before use: a column that is known only"
    yield "# after the impression must not be a field, and whatever is not named is not read."
    yield "name: my_log"
    if sample.separator != ",":
        yield f"separator: {_double_quoted(sample.separator)}"
    if sample.encoding != "utf-8":
        yield f"encoding: {sample.encoding}"
    if sample.trim:
        yield "trim: true"
    if sample.header:
        yield "# The files have no line of names; call the columns as you like, here and below."
        yield f"header: {_flow(list(sample.header))}"
    if purposes.conversions_without_click:
        yield f"# {purposes.conversions_without_click:,} rows of the sample convert without a click."
        yield "conversion_without_click: drop_conversion"
    yield "columns:"
    yield from _labels(purposes)
    if purposes.request:
        rows = len(purposes.request_of_rows) / (purposes.request_of_rows.max(initial=0) + 1)
        request = purposes.request[0] if len(purposes.request) == 1 else list(purposes.request)
        yield f"  request: {_flow(request)} # {rows:.1f} rows each"
    else:
        yield "  # request: no column names requests; every row is one of its own"
    for purpose in ("sample_id", "weight", "time", "user"):
        if column := getattr(purposes, purpose):
            yield f"  {purpose}: {_flow(column)} # {facts[column].examples}"


def _labels(purposes: Purposes) -> Iterator[str]:
    for name, label in (("click", purposes.click), ("conversion", purposes.conversion)):
        yield f"  {name}: {_label(label)} # {label.is_set.mean():.2%} of rows"


def _label(label: Label) -> str:
    if (label.spellings, label.others) == (("1",), ("0",)):
        return _flow(label.column)
    entries: dict[str, Any] = {"column": label.column, "is": list(label.spellings)}
    return _flow(entries | ({"not": list(label.others)} if label.others else {}))


def _left_out(fact: Facts, purposes: Purposes, weights: Mapping[str, str]) -> str:
    if fact.name in weights.values():
        return "it holds the weights of another column"
    if not fact.present.any():
        return "it is empty"
    if len(fact.values) == 1 and fact.present.all():
        return "it has one value in all rows"
    if fact.name == purposes.time or columns.is_called_time(fact):
        return "it is a time"
    if fact.name in purposes.request and fact.name != purposes.user:
        return "it names the request"
    if label := columns.gives_away(fact, purposes):
        return f"it has values only where {label} is 1, so it is known after the impression"
    if columns.rows_apart(fact) and not fact.is_number and not fact.is_many and fact.name != purposes.user:
        return "it differs in every row"
    return ""


def _field(fact: Facts, context: bool, weights: Mapping[str, str]) -> dict[str, Any]:
    name = fact.name.replace("/", "_").replace("*", "_")
    name += "_" if name in names.RESERVED_KEYS else ""
    field: dict[str, Any] = {"name": name}
    field |= {"column": fact.name} if name != fact.name else {}
    field |= {"group": "user" if context else "item", "side": CONTEXT if context else IMPRESSION}
    field |= _type(fact)
    if fact.name in weights:
        field["weight_column"] = weights[fact.name]
    if fact.missing:
        field["missing"] = list(fact.missing)
    return field


def _is_context(fact: Facts, purposes: Purposes) -> bool:
    if purposes.request:
        return columns.constant_within(fact, purposes.request_of_rows)
    return bool(_CONTEXT_NAMES.fullmatch(fact.name)) or fact.name == purposes.user


def _type(fact: Facts) -> dict[str, Any]:
    separator = {"value_separator": fact.separator} if fact.separator not in ("", "|") else {}
    if fact.is_many and fact.length >= _LEAST_VECTOR and not fact.is_whole and _are_numbers(fact):
        return {"kind": ONE, "type": VECTOR, "size": fact.length, **separator}
    kind = {"kind": MANY if fact.is_many else ONE}
    weighted = {"weighted": True} if fact.is_weighted else {}
    if fact.is_whole or fact.is_whole_with_point:
        if not fact.is_many and _QUANTITY_NAMES.fullmatch(fact.name) and len(fact.values) > _LEAST_QUANTITIES:
            return {"kind": ONE, "type": NUMBER, "quantiles": _QUANTILES}
        point = {"point_zero": True} if fact.is_whole_with_point else {}
        return {**kind, "type": ID, **point, **weighted, **separator}
    if not fact.is_many and _are_numbers(fact):
        return {"kind": ONE, "type": NUMBER, "quantiles": _QUANTILES}
    return {**kind, "type": STRING, **weighted, **separator}


def _are_numbers(fact: Facts) -> bool:
    # Zeros in front, as in 0042: a code and no number.
    return fact.is_number and not any(len(v) > 1 and v[0] == "0" and v[1].isdigit() for v in fact.entries)


def _weight_columns(facts: Mapping[str, Facts]) -> dict[str, str]:
    """Columns whose weights stand in a column of their own: 109_14 and D109_14, tags and tags_weight."""
    found = {}
    for name, fact in facts.items():
        for column in (f"D{name}", f"{name}_weight", f"{name}_weights"):
            if column in facts and facts[column].is_number and facts[column].is_many == fact.is_many:
                found[name] = column
    return found


def _told(fact: Facts) -> str:
    many = f" in {len(fact.values):,} lists" if fact.is_many else ""
    return f"{fact.coverage:.1%} of rows, {len(fact.entries):,} values{many}, such as {fact.examples}"


def _flow(value: Any) -> str:
    """YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1 << 20, sort_keys=False)
    return str(text).removesuffix("\n").removesuffix("\n...").strip()


def _double_quoted(text: str) -> str:
    return str(yaml.safe_dump(text, default_style='"')).strip()


def _quoted(name: str) -> str:
    return name if name.isprintable() else ascii(name)
