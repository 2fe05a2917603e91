"""What is wrong with an output although every step went well: said before training on it costs a day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from features import names
from preprocess.job import Job
from preprocess.read import delays

_MANY_CLICKS = 0.5
# Key of the report's `conversions`.
CLOSED_CONVERSIONS = "conversions_of_closed_windows"

Splits = Mapping[str, Mapping[str, Any]]


def faults(splits: Splits, job: Job) -> list[str]:
    """Why nothing can be learnt of these splits, each with its remedy."""
    return list(_faults(splits, job))


def warnings(
    splits: Splits, fields: Mapping[str, Mapping[str, Any]], conversions: Mapping[str, Any], job: Job
) -> list[str]:
    """What is unlikely to be meant, each with its remedy."""
    return [*_label_warnings(splits), *_field_warnings(splits, fields, job), *_weighing_warnings(splits, conversions)]


def _faults(splits: Splits, job: Job) -> Iterator[str]:
    for split, found in splits.items():
        if not found["impressions"]:
            yield (
                f"split {split}: no impressions; give it rows, or leave it out by --splits"
                + (f" or raise --test_fraction={job.options.test_fraction:g}" if split == names.TEST else "")
            )
        elif found["impressions_without_context"] == found["impressions"] and job.schema.context_fields:
            yield (
                f"split {split}: none of its {found['impressions']:,} impressions finds its context; the keys in "
                f"{names.skeleton_file(split)} and {names.common_file(split)} do not fit together"
            )
    if names.TRAIN in splits and splits[names.TRAIN]["impressions"]:
        yield from _label_faults(splits[names.TRAIN], job)


def _label_faults(train: Mapping[str, Any], job: Job) -> Iterator[str]:
    impressions, clicks, conversions = (train[name] for name in ("impressions", "clicks", "conversions"))
    columns = job.schema.columns
    said = "in the schema's `columns` say which column it is and how it is spelled"
    if clicks in (0, impressions):
        yield (
            f"split {names.TRAIN}: {'every' if clicks else 'no'} impression of {impressions:,} is a click "
            f"(column {columns.click}): nothing tells one from the other; {said}"
        )
    if columns.weight and not train["weighted"]["impressions"]:
        yield (
            f"split {names.TRAIN}: all {impressions:,} impressions have weight 0 (column {columns.weight}), so none "
            "counts; name another column, or none"
        )
    if not conversions:
        yield (
            f"split {names.TRAIN}: none of {impressions:,} impressions is a conversion (column {columns.conversion}): "
            f"pCVR would be whatever it starts from; {said}"
        )


def _label_warnings(splits: Splits) -> Iterator[str]:
    for split, found in splits.items():
        impressions, clicks, conversions = (found[name] for name in ("impressions", "clicks", "conversions"))
        if clicks and clicks == conversions:
            yield f"split {split}: all {clicks:,} clicks convert; is the conversion another column than the click?"
        if impressions and _MANY_CLICKS < clicks / impressions < 1:
            yield f"split {split}: {clicks / impressions:.0%} of impressions are clicks; is it a log of impressions?"
        if split != names.TRAIN and impressions:
            for label, count in (("click", clicks), ("conversion", conversions)):
                if not count:
                    yield f"split {split}: no {label} among {impressions:,} impressions: its metrics will be absent"
        without = found["impressions_without_context"]
        if impressions and impressions / 10 < without < impressions:
            yield f"split {split}: {without:,} of {impressions:,} impressions do not find their context"


def _field_warnings(splits: Splits, fields: Mapping[str, Mapping[str, Any]], job: Job) -> Iterator[str]:
    for name, field in fields.items():
        for split, found in field["splits"].items():
            if not splits[split]["impressions"]:
                continue
            if not found["values"]:
                column = job.schema.by_name[name].column
                yield f"split {split}, field {name}: no impression has a value (column {column})"
            elif found["unknown_share"] > job.options.warn_new_share and not job.options.vocabulary:
                yield (
                    f"split {split}, field {name}: {found['unknown_share']:.0%} of its {found['values']:,} values are "
                    f"not in the vocabulary (--min_count={job.options.min_count}: lower it, or leave the field out; "
                    "--warn_new_share)"
                )


def _weighing_warnings(splits: Splits, conversions: Mapping[str, Any]) -> Iterator[str]:
    closed = conversions.get(CLOSED_CONVERSIONS)
    if closed is not None and closed < delays.FEW_CLOSED:
        yield (
            f"--weigh_open_clicks rests on {closed:,} conversions of closed windows, so how late they come is hardly "
            "known; give --input_dir more days"
        )
    for split, found in splits.items():
        if split != names.TRAIN and found.get("open_clicks"):
            yield (
                f"split {split}: the window of {found['open_clicks']:,} of {found['clicks']:,} clicks is open; an "
                "evaluation takes their labels as they are, so that good conversion rates look too high: evaluate on "
                "a log whose windows are closed"
            )
