"""What a day changed against the day before: for the report, with warnings where it is more than days usually do."""

from __future__ import annotations

import os
from typing import Any

import storage
from features import names
from preprocess.generations.next_vocabulary import NEW_SHARE, PSI
from preprocess.job import Job
from preprocess.options import Options
from storage import contents

COVERAGE = "coverage"
_RATES = {"click_rate": ("clicks", "impressions"), "conversion_rate": ("conversions", "clicks")}


def compare(job: Job, splits: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """The day beside the one before; only warnings about unknown values where there is none.

    Args:
        job: of the day, whose vocabulary is written.
        splits: of the day's report.
        fields: of the day's report.
    """
    options = job.options
    if not options.previous_vocabulary:
        return {"warnings": _unknown_values(options, fields)}
    known = job.load_vocabulary()
    before = _report_beside(options.previous_vocabulary)
    now = _rates(splits)
    found = {
        "vocabulary": options.previous_vocabulary,
        "generation": known.generation,
        "rates": {name: {"before": _rates(before.get("splits", {})).get(name), "now": now[name]} for name in now},
        "fields": {
            name: {
                **{key: known.statistics["fields"][name][key] for key in ("added_ids", "evicted_ids", PSI, NEW_SHARE)},
                COVERAGE: {
                    "before": _coverage(before.get("fields", {}).get(name, {})),
                    "now": _coverage(described),
                },
            }
            for name, described in fields.items()
        },
    }
    return {**found, "warnings": [*_warnings(options, found), *_unknown_values(options, fields)]}


def _report_beside(vocabulary: str) -> dict[str, Any]:
    """Report of the job that built a vocabulary, empty where it is not beside it."""
    path = storage.join(os.path.dirname(vocabulary.rstrip("/")), names.REPORT_DIR, names.REPORT_JSON)
    return contents.object_of(path, "delete it, and nothing is compared with the day before")


def _rates(splits: dict[str, Any]) -> dict[str, float | None]:
    train = splits.get(names.TRAIN, {})
    return {name: train[above] / train[below] if train.get(below) else None for name, (above, below) in _RATES.items()}


def _coverage(field: dict[str, Any]) -> float | None:
    return field.get("splits", {}).get(names.TRAIN, {}).get("coverage")


def _warnings(options: Options, found: dict[str, Any]) -> list[str]:
    texts = []
    for name, rate in found["rates"].items():
        before, now = rate["before"], rate["now"]
        if before and now is not None and abs(now / before - 1) > options.warn_rate_change:
            texts.append(f"{name} is {now:.4g}, the day before {before:.4g} (--warn_rate_change)")
    for name, field in found["fields"].items():
        if (field[PSI] or 0) > options.warn_psi:
            texts.append(
                f"field {name}: its distribution moved, population stability index {field[PSI]:.2f} (--warn_psi)"
            )
        if (field[NEW_SHARE] or 0) > options.warn_new_share:
            texts.append(
                f"field {name}: {field[NEW_SHARE]:.0%} of its values are of ids that the day before did not have "
                "(--warn_new_share)"
            )
        before, now = field[COVERAGE]["before"], field[COVERAGE]["now"]
        if None not in (before, now) and abs(now - before) > options.warn_coverage_change:
            texts.append(
                f"field {name}: {now:.0%} of impressions have it, the day before {before:.0%} (--warn_coverage_change)"
            )
    return texts


def _unknown_values(options: Options, fields: dict[str, Any]) -> list[str]:
    """Fields whose values the vocabulary in use mostly lacks: what a vocabulary of an earlier day does to new ids."""
    texts = []
    for name, field in fields.items():
        for split, found in field["splits"].items():
            if options.vocabulary and found["unknown_share"] > options.warn_new_share:
                texts.append(
                    f"field {name}: {found['unknown_share']:.0%} of its values in {split} are unknown to "
                    f"--vocabulary={options.vocabulary}; --previous_vocabulary would add them (--warn_new_share)"
                )
    return texts
