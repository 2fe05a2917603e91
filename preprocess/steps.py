"""The steps of the job: what each does, what it receives and sends, and how its results become the next one's tasks."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

from preprocess import vocabulary_builder
from preprocess.exchange.channels import CONTEXTS, COUNTS, DUPLICATES, IMPRESSIONS, PIECES, REJECTS, SAMPLE_IDS
from preprocess.exchange.mail import Inbox, Outbox
from preprocess.job import Job
from preprocess.join import duplicates, partition_joiner
from preprocess.read import block_parser, inputs
from preprocess.write import rejected_writer, shard_writer

FINISHED = "finished.plan"


@dataclasses.dataclass(frozen=True)
class Step:
    """A step of the job.

    Attributes:
        label: of the step's transforms.
        work: does one task: (job, task, inbox, outbox) -> result. May run twice for a task, and writes files whole.
        plan: (job, results) -> tasks of the next step. Runs once all tasks are done.
        receives: channels of the inbox. Task k gets what was sent to key k.
        sends: channels of the outbox.
    """

    label: str
    work: Callable[[Job, Any, Inbox, Outbox], Any]
    plan: Callable[[Job, Sequence[Any]], Sequence[Any]]
    receives: tuple[str, ...] = ()
    sends: tuple[str, ...] = ()


def finish(job: Job, written: Sequence[rejected_writer.WrittenRejects]) -> list[None]:
    """Keeps the results of the last step."""
    job.save(FINISHED, sorted(written, key=lambda found: found.file_index))
    return []


PARSE = Step(
    "ParseBlocks",
    block_parser.parse_block,
    duplicates.plan_search,
    sends=(CONTEXTS, IMPRESSIONS, SAMPLE_IDS, REJECTS),
)
JOIN = Step(
    "JoinPartitions",
    partition_joiner.join_partition,
    vocabulary_builder.plan_ranges,
    receives=(CONTEXTS, IMPRESSIONS, DUPLICATES),
    sends=(COUNTS, PIECES, REJECTS),
)
STEPS = (
    PARSE,
    Step("FindDuplicates", duplicates.search, duplicates.plan_join, receives=(SAMPLE_IDS,), sends=(DUPLICATES,)),
    JOIN,
    Step("MergeCounts", vocabulary_builder.merge_range, vocabulary_builder.plan_records, receives=(COUNTS,)),
    Step("WriteRecords", shard_writer.write_shard, rejected_writer.plan_rejected, receives=(PIECES,)),
    Step("WriteRejected", rejected_writer.write_rejected, finish, receives=(REJECTS,)),
)


def senders(channel: str) -> list[Step]:
    """The steps that send to a channel, in order."""
    return [step for step in STEPS if channel in step.sends]


def first_tasks(job: Job) -> list[inputs.Block]:
    """Tasks of the first step: all blocks of the input."""
    return [block for file in job.files for block in inputs.blocks(file, job.options.block_size)]


def plan(job: Job, step: Step, results: Sequence[Any]) -> Sequence[Any]:
    """Tasks of the next step, from the results of all tasks."""
    job.save(done_at(step), time.time())
    return step.plan(job, results)


def done_at(step: Step) -> str:
    """Name of the object that holds the time at which all tasks of a step were done."""
    return f"{step.label}.time"
