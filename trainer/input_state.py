"""How far training has read its data, as a checkpoint knows it.

A *phase* is a number of passes over one set of record files. A run that was stopped goes on behind the batch that its
checkpoint saw last, in the order that the phase began with. A phase is over when all its passes are: further passes, or
other files (a new day), begin the next, with a schedule of learning rates of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from input_fn.options import InputOptions
from trainer import checkpoints

STATE = "input/state"
_POSITION = "input/position_"
NOTHING_READ = (0, 0)


def position_name(worker: int) -> str:
    """Name of the variable with a worker's position: int64 [2], records and then batches to skip."""
    return f"{_POSITION}{worker}"


@dataclasses.dataclass(frozen=True)
class Phase:
    """What the variable `input/state` holds: int64, in this order.

    Attributes:
        fingerprint: of the record files.
        first_step: global step at which the phase began.
        epochs: passes over these files that were complete before.
        seed: of the order of the records.
        shuffle_buffer: likewise.
        workers: that share the files.
        batch_size: of the batches that the position counts.
        max_impressions_per_context: likewise.
    """

    fingerprint: int
    first_step: int = 0
    epochs: int = 0
    seed: int = 0
    shuffle_buffer: int = 0
    workers: int = 1
    batch_size: int = 0
    max_impressions_per_context: int = 0

    def to_array(self) -> np.ndarray:
        """The variable's value."""
        return np.array(dataclasses.astuple(self), np.int64)

    def complete(self, epochs: int) -> Phase:
        """What is kept when so many passes are over."""
        return dataclasses.replace(self, epochs=epochs)


# The order of records, and of batches within a block of them, must stay as they are until the passes are over.
_ORDER = {"seed": "seed", "shuffle_buffer": "shuffle_buffer", "workers": "number of processes that train in TF_CONFIG"}
_BATCHES = ("batch_size", "max_impressions_per_context")


@dataclasses.dataclass(frozen=True)
class Start:
    """Where a run begins to read.

    Attributes:
        phase: as its checkpoints will keep it.
        positions: for each worker what to skip, records and batches.
        step: global step of the checkpoint; 0 without.
    """

    phase: Phase
    positions: tuple[tuple[int, int], ...]
    step: int

    @property
    def is_begun(self) -> bool:
        """Whether the phase has read anything."""
        return any(position != NOTHING_READ for position in self.positions)


def of_checkpoint(checkpoint: str | None, wanted: Phase) -> Start:
    """Where a run begins.

    Args:
        checkpoint: to go on from, if any.
        wanted: what this run would do from the start: its files, order and batches.

    Raises:
        ValueError: the checkpoint cannot be read; or it is in the middle of passes in another order, so that going on
            would show some records twice and others never; or more processes train than it has positions of.
    """
    fresh = (NOTHING_READ,) * wanted.workers
    if checkpoint is None:
        return Start(wanted, fresh, 0)
    with checkpoints.reading(checkpoint):
        reader = tf.train.load_checkpoint(checkpoint)
        step = int(reader.get_tensor("global_step"))
        state = reader.get_tensor(STATE).tolist() if reader.has_tensor(STATE) else []
    new = dataclasses.replace(wanted, first_step=step)
    if not state:
        return Start(new, fresh, step)
    kept = Phase(*(int(value) for value in state))
    if kept.fingerprint != wanted.fingerprint:
        _refuse_more_workers(kept, wanted)
        return Start(new, fresh, step)
    with checkpoints.reading(checkpoint):
        positions = tuple(_position(reader, worker) for worker in range(kept.workers))
    if all(position == NOTHING_READ for position in positions):
        _refuse_more_workers(kept, wanted)
        return Start(dataclasses.replace(new, epochs=kept.epochs), fresh, step)
    _refuse_another_order(kept, wanted, positions)
    if any(getattr(kept, name) != getattr(wanted, name) for name in _BATCHES):
        # Blocks are cut otherwise: the one at hand is read again from its start.
        positions = tuple((records, 0) for records, _ in positions)
    going_on = dataclasses.replace(kept, **{name: getattr(wanted, name) for name in _BATCHES})
    return Start(going_on, positions, step)


def _position(reader: tf.train.CheckpointReader, worker: int) -> tuple[int, int]:
    records, batches = reader.get_tensor(position_name(worker)).tolist()
    return records, batches


def _refuse_more_workers(kept: Phase, wanted: Phase) -> None:
    if wanted.workers > kept.workers:
        raise ValueError(
            f"{_ORDER['workers']} is {wanted.workers}, but the model was trained by {kept.workers}, and where it goes "
            "on there may be fewer, not more. Go on with these, or begin another model with its weights by another "
            "--model_dir and --warm_start_from"
        )


def _refuse_another_order(kept: Phase, wanted: Phase, positions: tuple[tuple[int, int], ...]) -> None:
    for name, title in _ORDER.items():
        before, now = getattr(kept, name), getattr(wanted, name)
        if before != now:
            title = title if " " in title else f"--{title}"
            read = sum(records for records, _ in positions)
            raise ValueError(
                f"{title} is {now}, but the checkpoint stopped in the middle of a pass, behind {read:,} records in the "
                f"order of {before}: some records would come twice and others never. Go on with {before}, or train "
                "another model with another --model_dir or --clear_existing_model"
            )


def phase_of(read: InputOptions, fingerprint: int) -> Phase:
    """What a run would do from the start."""
    fields: Mapping[str, int] = {name: getattr(read, name) for name in ("shuffle_buffer", *_BATCHES)}
    return Phase(fingerprint=fingerprint, seed=int(read.seed or 0), workers=read.shard_count, **fields)
