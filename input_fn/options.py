"""How records become batches: one frozen object that every module here takes."""

from __future__ import annotations

import dataclasses

# A batch of 1024 then mixes 64 contexts or more. benchmarks/layout_quality.py measures quality and speed over it.
DEFAULT_MAX_IMPRESSIONS_PER_CONTEXT = 16
ENDLESS = 1 << 40


@dataclasses.dataclass(frozen=True)
class InputOptions:
    """Settings of `make_dataset`.

    Attributes:
        batch_size: impressions that a batch comes near; batches hold whole pieces (training) or whole requests.
        max_impressions_per_context: training cuts requests into pieces of at most this many impressions, and spreads
            the pieces of a request over batches; 0 leaves requests whole.
        shuffle: training: files, requests and pieces in random order. Else requests stay whole, which is faster.
        ordered: without shuffle: records come in the order of the sorted files. Else several files are read side by
            side, which hides the delays of remote storage.
        shuffle_buffer: records that wait, serialized, to be drawn from; some 5 kB each.
        seed: equal seeds give equal batches in equal order, on any number of threads; None draws one.
        num_epochs: passes over the files.
        skip_records: leave out this many records at the start of the first pass: to go on where a run was stopped.
        skip_batches: leave out this many batches of the first block behind them as well.
        replicas: models that take a batch each in every step. The last batch comes again until the last step has one
            for each: the mean of their gradients is that of the batches once. ENDLESS: it comes again for ever.
        shard_count: workers that share the files; each reads its own part.
        shard_index: this worker's number among them, from 0.
        num_threads: threads for the whole pipeline; 0 leaves it to tf.data's threads, one a core.
        trace: adds `dataset.TRACE` to the features, for whoever strips them before the model.
    """

    batch_size: int = 1024
    max_impressions_per_context: int = DEFAULT_MAX_IMPRESSIONS_PER_CONTEXT
    shuffle: bool = True
    ordered: bool = True
    shuffle_buffer: int = 4096
    seed: int | None = None
    num_epochs: int = 1
    skip_records: int = 0
    skip_batches: int = 0
    replicas: int = 1
    shard_count: int = 1
    shard_index: int = 0
    num_threads: int = 0
    trace: bool = False

    def __post_init__(self) -> None:
        for name, least in (
            ("batch_size", 1),
            ("max_impressions_per_context", 0),
            ("shuffle_buffer", 1),
            ("num_epochs", 1),
            ("skip_records", 0),
            ("skip_batches", 0),
            ("replicas", 1),
            ("shard_count", 1),
            ("num_threads", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} {getattr(self, name)}: allowed is {least} or more")
        if not 0 <= self.shard_index < self.shard_count:
            raise ValueError(f"shard_index {self.shard_index}: allowed is 0 to {self.shard_count - 1}")
