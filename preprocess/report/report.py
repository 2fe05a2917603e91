"""What a run did: numbers for report.json and the summary on the terminal."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

import storage
from features import names, reject_reasons
from features.raw_log import moments
from features.schema import Field
from preprocess import steps, vocabulary_builder
from preprocess.columns import rows
from preprocess.generations import compare
from preprocess.job import Job
from preprocess.join import duplicates, partition_joiner
from preprocess.join.duplicates import ParsedLog
from preprocess.join.partition_joiner import JoinedPartition
from preprocess.options import MIB, Options
from preprocess.read import conversions
from preprocess.read.delays import KnownShares
from preprocess.report import report_page, verdict
from preprocess.vocabulary_builder import CountedRange
from preprocess.write import rejected_writer
from preprocess.write.shard_writer import WrittenShard

TOTAL = "total"
_UNKNOWN_TOLD = 100
_FILES_TOLD = 10
_SHARES_TOLD = (10, 25, 50, 75, 90, 95, 99)
_HOUR = 3600
# What is counted of labels, in this order.
_COUNTED = ("impressions", rows.CLICK + "s", rows.CONVERSION + "s")
WARNING = "WARNING: "


@dataclasses.dataclass(frozen=True)
class Report:
    """All that is told of a run; the attributes are the keys of report.json.

    Attributes:
        input: files, bytes and rows read, and features of unknown fields by name.
        splits: by split: requests, impressions, clicks, conversions, records and bytes; `weighted`, where impressions
            have weights: the sums of those of impressions, clicks and conversions; `open_clicks`, where they are
            weighed.
        rejected: rows by reason, of each reason that occurs.
        samples: a few rejected rows.
        vocabulary: ids in all, kept, min_count.
        frequencies: distinct counts and the number of ids that have each.
        fields: by field: what it is, coverage and lengths by split, ids kept and dropped.
        previous: what changed against the day before, and warnings (`generations.compare`).
        seconds: of the whole job so far, and of each step.
        days: impressions, clicks, conversions and rates by ISO date, where the schema names a time.
        conversions: with --conversion_window: what was counted, and the share of clicks whose window was still open;
            where those are weighed, the hours until shares of the window's conversions have come.
        faults: why nothing can be learnt of the output.
        warnings: what else is unlikely to be meant.
    """

    input: dict[str, Any]
    splits: dict[str, dict[str, Any]]
    rejected: dict[str, int]
    samples: list[dict[str, Any]]
    vocabulary: dict[str, Any]
    frequencies: dict[str, list[int]]
    fields: dict[str, dict[str, Any]]
    previous: dict[str, Any]
    seconds: dict[str, float]
    days: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    conversions: dict[str, Any] = dataclasses.field(default_factory=dict)
    faults: list[str] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)

    @property
    def rejected_share(self) -> float:
        """Rejected rows by rows read."""
        return sum(self.rejected.values()) / max(self.input["rows"], 1)


def collect(job: Job, started: float) -> Report:
    """The report of a run whose steps are done."""
    parsed: ParsedLog = job.load(duplicates.PARSED)
    joined: list[JoinedPartition] = job.load(partition_joiner.JOINED)
    shards: list[WrittenShard] = job.load(rejected_writer.RECORDS)
    ranges: list[CountedRange] = job.load(vocabulary_builder.COUNTED)
    written: list[rejected_writer.WrittenRejects] = job.load(steps.FINISHED)
    reasons = Counter(dict(enumerate(parsed.reasons.tolist())))
    for found in joined:
        reasons.update(found.reasons)
    splits = {split: _split(job, split, joined, shards) for split in job.options.splits}
    fields = {field.name: _field(job, field, index, shards, ranges) for index, field in enumerate(job.schema.fields)}
    made = Report(
        input={
            "format": job.options.input_format,
            "files": [file.path for file in job.files if file.is_read],
            "not_read": list(job.not_read),
            "is_split": any(file.split for file in job.files),
            "test_from": job.options.test_from,
            "bytes": sum(file.size for file in job.files if file.is_read),
            "rows": parsed.read,
            **_unknown_fields(parsed.unknown),
        },
        splits=splits,
        rejected={reason: reasons[i] for i, reason in enumerate(reject_reasons.REASONS) if reasons[i]},
        samples=_samples([json.loads(line) for rejects in written for line in rejects.sample], reasons),
        vocabulary=_vocabulary(job, ranges),
        frequencies=_frequencies(ranges),
        fields=fields,
        previous=compare.compare(job, splits, fields),
        seconds=_seconds(job, started),
        days=_days(parsed.days),
        conversions=_conversions(job.options, parsed),
    )
    return dataclasses.replace(
        made,
        faults=verdict.faults(made.splits, job),
        warnings=verdict.warnings(made.splits, made.fields, made.conversions, job),
    )


def _days(counted: np.ndarray) -> dict[str, dict[str, Any]]:
    """Impressions, click rate and conversion rate (of clicks) of each day, duplicates included."""
    return {
        moments.day_text(int(day)): {
            **dict(zip(_COUNTED, map(int, sums[:3]), strict=True)),
            **_rates(sums[:3]),
            **({"weighted": {**dict(zip(_COUNTED, sums[3:], strict=True)), **_rates(sums[3:])}} if sums[3:] else {}),
        }
        for day, *sums in counted.tolist()
    }


def _conversions(options: Options, parsed: ParsedLog) -> dict[str, Any]:
    if not options.conversion_window:
        return {}
    counted = parsed.conversions
    names_ = (conversions.CLICKS, conversions.OPEN, conversions.WAITING, conversions.LATE, conversions.AFTER_CUT)
    return {
        **{name: getattr(options, name) for name in ("conversion_window", "log_cut", "hold_back")},
        **{name: counted[name] for name in (*names_, conversions.HELD_BACK)},
        "open_share": counted[conversions.OPEN] / max(counted[conversions.CLICKS], 1),
        **(_known_shares(parsed.known_shares) if parsed.known_shares else {}),
    }


def _known_shares(found: KnownShares) -> dict[str, Any]:
    hours = {f"{share}%": round(found.age(share / 100) / _HOUR, 3) for share in _SHARES_TOLD}
    return {verdict.CLOSED_CONVERSIONS: found.closed, "hours_until_share": hours}


def _rates(sums: Sequence[float]) -> dict[str, float]:
    """Click rate and conversion rate (of clicks) of sums over impressions, clicks and conversions."""
    impressions, clicks, conversions = sums
    return {
        "click_rate": clicks / impressions if impressions else 0.0,
        "conversion_rate": conversions / clicks if clicks else 0.0,
    }


def _unknown_fields(counts: Counter[str]) -> dict[str, Any]:
    """The names that occur most, and how many there are: a damaged log may have one in each row."""
    return {"unknown_fields": dict(counts.most_common(_UNKNOWN_TOLD)), "unknown_field_names": len(counts)}


def _samples(rejected: list[dict[str, Any]], counts: Counter[int]) -> list[dict[str, Any]]:
    """Ten rejected rows of the commonest reason, then two of each other one."""
    samples: list[dict[str, Any]] = []
    commonest = sorted((index for index in counts if counts[index]), key=lambda index: (-counts[index], index))
    for place, index in enumerate(commonest):
        mine = [row for row in rejected if row["reason"] == reject_reasons.REASONS[index]]
        samples += mine[: 2 if place else rejected_writer.SAMPLE]
    return samples


def _seconds(job: Job, started: float) -> dict[str, float]:
    seconds, begin = {}, started
    for step in steps.STEPS:
        end = job.load(steps.done_at(step))
        seconds[step.label] = end - begin
        begin = end
    return {**seconds, TOTAL: time.time() - started}


def _split(job: Job, split: str, joined: list[JoinedPartition], shards: list[WrittenShard]) -> dict[str, Any]:
    mine = [shard for shard in shards if shard.split == split]
    partitions = [joined[number] for number in job.partitions.ranges[split]]
    counted = ("requests", rows.CLICK + "s", rows.CONVERSION + "s", "impressions", "records", "plain_bytes", "bytes")
    weights = sum((shard.weights for shard in mine), np.zeros(3)).tolist()
    return {
        **{name: sum(getattr(shard, name) for shard in mine) for name in counted},
        **({"weighted": dict(zip(_COUNTED, weights, strict=True))} if job.schema.columns.weight else {}),
        **({"open_clicks": sum(shard.open_clicks for shard in mine)} if job.options.weigh_open_clicks else {}),
        "files": len(mine),
        "impressions_without_context": sum(found.without_context for found in partitions),
        "contexts_without_impressions": sum(found.unused_contexts for found in partitions),
    }


def _vocabulary(job: Job, ranges: list[CountedRange]) -> dict[str, Any]:
    known = job.load_vocabulary()
    built = None if job.options.vocabulary else int(sum(found.frequencies[1].sum() for found in ranges))
    return {
        "size": known.size,
        "reserved_ids": job.schema.reserved_ids,
        "kept_ids": len(known.keys),
        "ids": built,
        "min_count": known.statistics.get("min_count"),
        "used": job.options.vocabulary or None,
    }


def _frequencies(ranges: list[CountedRange]) -> dict[str, list[int]]:
    merged: Counter[int] = Counter()
    for found in ranges:
        merged.update(dict(zip(*found.frequencies.tolist(), strict=True)))
    counts = sorted(merged)
    return {"count": counts, "ids": [merged[count] for count in counts]}


def _field(
    job: Job, field: Field, index: int, shards: list[WrittenShard], ranges: list[CountedRange]
) -> dict[str, Any]:
    kept, distinct = (int(sum(found.ids_by_field[row, index] for found in ranges)) for row in (0, 1))
    by_split = {}
    for split in job.options.splits:
        mine = [shard for shard in shards if shard.split == split]
        impressions = sum(shard.impressions for shard in mine)
        having, values, unknown = (
            int(sum(getattr(shard.totals, name)[index] for shard in mine)) for name in ("rows", "values", "unknown")
        )
        by_split[split] = {
            "coverage": having / max(impressions, 1),
            "mean_length": values / max(having, 1),
            "max_length": int(max((shard.totals.longest[index] for shard in mine), default=0)),
            "values": values,
            "unknown_values": unknown,
            "unknown_share": unknown / max(values, 1),
        }
    description = {name: getattr(field, name) for name in ("group", "side", "kind", "type", "weighted")}
    ids = {"ids": distinct, "kept_ids": kept, "dropped_ids": distinct - kept}
    if job.options.previous_vocabulary:
        found = job.load_vocabulary().statistics["fields"][field.name]
        ids = {name: found[name] for name in ids}
    return {**description, **({} if job.options.vocabulary else ids), "splits": by_split}


def write(report: Report, folder: str) -> None:
    """Writes report.json and report.html to a folder."""
    contents = dataclasses.asdict(report)
    text = json.dumps(contents, indent=1, ensure_ascii=False)
    storage.write(storage.join(folder, names.REPORT_JSON), [text.encode()])
    storage.write(storage.join(folder, names.REPORT_HTML), [report_page.page(contents).encode()])


def summary(report: Report) -> str:
    """A few lines for the terminal."""
    lines = [f"{report.input['rows']:,} rows, {report.input['bytes'] / MIB:,.1f} MiB"]
    for split, found in report.splits.items():
        numbers = ", ".join(f"{found[name]:,} {name}" for name in ("requests", "impressions", "clicks", "conversions"))
        each = found["bytes"] / max(found["impressions"], 1)
        lines.append(f"{split}: {numbers}; {found['bytes'] / MIB:,.1f} MiB, {each:.1f} bytes per impression")
    lines.append(_ids(report))
    if report.conversions:
        lines.append(describe_conversions(report.conversions))
    lines += [f"warning: {text}" for text in report.previous["warnings"]]
    lines.append(f"rejected: {sum(report.rejected.values()):,} rows {_by_reason(report)}".rstrip())
    lines += _commonest(report)
    lines += _about_files(report)
    seconds = report.seconds[TOTAL]
    lines += [f"{WARNING}{text}" for text in (*report.faults, *report.warnings)]
    lines.append(f"{seconds:.1f} s, {report.input['bytes'] / 1e6 / max(seconds, 1e-9):.1f} MB/s of raw log")
    return "\n".join(lines)


def _ids(report: Report) -> str:
    kept, ids, made = report.vocabulary["kept_ids"], report.vocabulary["ids"], report.previous.get("generation")
    if made:
        return (
            f"ids: {kept:,} in generation {made['number']}: {made['carried']:,} carried, {made['added']:,} added, "
            f"{made['evicted']:,} evicted; {made['pending']:,} keys are not frequent enough yet"
        )
    return f"ids kept: {kept:,}" + (f" of {ids:,}" if ids is not None else "")


def describe_conversions(found: dict[str, Any]) -> str:
    """A line about the conversion window, of `Report.conversions`."""
    late = found[conversions.LATE]
    line = f"conversions count within {found['conversion_window']} of the click: {late:,} came later"
    if not found["log_cut"]:
        return line
    return (
        f"{line}, {found[conversions.AFTER_CUT]:,} after {found['log_cut']}; of {found[conversions.CLICKS]:,} clicks "
        f"{found['open_share']:.1%} were still open then, {found[conversions.WAITING]:,} of them without conversion; "
        f"{found[conversions.HELD_BACK]:,} impressions held back" + _weighed(found)
    )


def _weighed(found: dict[str, Any]) -> str:
    if verdict.CLOSED_CONVERSIONS not in found:
        return ""
    return (
        f"; open clicks are weighed: of {found[verdict.CLOSED_CONVERSIONS]:,} conversions of closed windows and those "
        f"of open ones, half come within {found['hours_until_share']['50%']:g} hours"
    )


def _by_reason(report: Report) -> str:
    return (
        "(" + ", ".join(f"{reason} {count:,}" for reason, count in report.rejected.items()) + ")"
        if report.rejected
        else ""
    )


def describe_rejects(report: Report, options: Options, folder: str) -> str:
    """Message for more rejected rows than allowed; they are in `folder`."""
    rejected = sum(report.rejected.values())
    lines = [
        f"{rejected:,} of {report.input['rows']:,} rows rejected, more than --max_rejected={options.max_rejected:g} "
        f"{_by_reason(report)}; all are in {storage.join(folder, names.REJECTED_DIR)}, for example:"
    ]
    return "\n".join([*lines, *_commonest(report)])


def _commonest(report: Report) -> list[str]:
    """The rejected rows of the commonest reason that are shown."""
    if not report.samples:
        return []
    reason = max(report.rejected, key=lambda name: report.rejected[name])
    return [_told(sample) for sample in report.samples if sample["reason"] == reason][: rejected_writer.SAMPLE]


def _told(sample: dict[str, Any]) -> str:
    column = f" (column {sample['column']})" if sample["column"] else ""
    return f"  {sample['file']} at {sample['offset']}: {sample['reason']}{column}: {sample['row']!r:.200}"


def _about_files(report: Report) -> list[str]:
    """What became of files that a reader of the folder may have expected to be read, or to be of a split."""
    lines = [f"not read: {line}" for line in report.input["not_read"][:_FILES_TOLD]]
    if len(report.input["not_read"]) > _FILES_TOLD:
        lines.append(f"not read: {len(report.input['not_read']) - _FILES_TOLD} more, all in {names.REPORT_JSON}")
    if not report.input["is_split"] and len(report.splits) > 1:
        how = f"time, --test_from={report.input['test_from']}" if report.input["test_from"] else "key"
        lines.append(f"no file is named for {' or '.join(report.splits)}: each request fell to one by its {how}")
    return lines


def describe_faults(report: Report, folder: str) -> str:
    """Message for an output of which nothing can be learnt."""
    where = f"the report is in {folder}; --keep_useless keeps the output all the same"
    return "\n".join([*report.faults, *(f"{WARNING}{text}" for text in report.warnings), where])
