"""Trains TorchRec on the batches of `benchmarks/torchrec_peer.py` and prints impressions/s; needs what that names."""

from __future__ import annotations

import argparse
import glob
import itertools
import os
import time
from typing import NamedTuple

import numpy as np
import torch
from torchrec import EmbeddingBagConfig, KeyedJaggedTensor
from torchrec.modules.fused_embedding_modules import FusedEmbeddingBagCollection

_WARM_UP_STEPS = 5
_SMALLEST = 1e-7
# Of configs/recommended.flags.
_TABLE_RATE = 0.02
_DENSE_RATE = 0.001


class Batch(NamedTuple):
    """What a step gets: ids of contexts and of impressions by field, impressions of each context, and the labels."""

    context: KeyedJaggedTensor
    impression: KeyedJaggedTensor
    sizes: torch.Tensor
    click: torch.Tensor
    conversion: torch.Tensor


def load(path: str) -> Batch:
    """A batch of a file."""
    found = {name: torch.from_numpy(column) for name, column in np.load(path).items()}
    sizes = found["row_splits"].diff()
    context, impression = _features(found, "context", len(sizes)), _features(found, "impression", len(found["click"]))
    return Batch(context, impression, sizes, found["click"].float(), found["conversion"].float())


def _features(found: dict[str, torch.Tensor], side: str, rows: int) -> KeyedJaggedTensor:
    lengths = found[f"{side}_lengths"]
    keys = [f"{side}_{number}" for number in range(len(lengths) // rows)]
    return KeyedJaggedTensor(keys, found[f"{side}_ids"], found[f"{side}_weights"], lengths=lengths)


def joined(batch: Batch) -> KeyedJaggedTensor:
    """The ids of contexts and impressions as features of one collection, where each impression has its own context."""
    return KeyedJaggedTensor.concat([batch.context, batch.impression])


class Model(torch.nn.Module):
    """ESMM's two towers on pooled rows.

    Where each impression has a context of its own, all are features of one collection. Else there are fewer contexts
    than impressions, which no collection can have: either side has its own, and a table of its own.
    """

    def __init__(self, example: Batch, rows: int, size: int, layers: list[int]) -> None:
        super().__init__()
        sides = [example.context.keys(), example.impression.keys()]
        self.is_flat = bool((example.sizes == 1).all())
        groups = [sides[0] + sides[1]] if self.is_flat else sides
        self.collections = torch.nn.ModuleList(_collection(keys, rows, size) for keys in groups)
        width = size * sum(map(len, sides))
        self.ctr, self.cvr = _tower(width, layers), _tower(width, layers)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Loss of a batch: a scalar."""
        rows = self._rows(batch)
        ctr, cvr = self.ctr(rows).squeeze(1), self.cvr(rows).squeeze(1)
        both = (torch.sigmoid(ctr) * torch.sigmoid(cvr)).clamp(_SMALLEST, 1 - _SMALLEST)
        cross_entropy = torch.nn.functional.binary_cross_entropy
        clicked = torch.nn.functional.binary_cross_entropy_with_logits(ctr, batch.click)
        return 0.5 * clicked + 0.5 * cross_entropy(both, batch.click * batch.conversion)

    def _rows(self, batch: Batch) -> torch.Tensor:
        if self.is_flat:
            return self.collections[0](joined(batch)).values()
        context, impression = (
            collection(features).values()
            for collection, features in zip(self.collections, (batch.context, batch.impression), strict=True)
        )
        return torch.cat([context.repeat_interleave(batch.sizes, 0), impression], 1)


def _collection(keys: list[str], rows: int, size: int) -> FusedEmbeddingBagCollection:
    table = EmbeddingBagConfig(name="table", embedding_dim=size, num_embeddings=rows, feature_names=keys)
    kwargs = {"lr": _TABLE_RATE, "eps": 1e-8}
    return FusedEmbeddingBagCollection([table], torch.optim.Adagrad, kwargs, is_weighted=True)


def _tower(width: int, layers: list[int]) -> torch.nn.Sequential:
    parts: list[torch.nn.Module] = []
    for units in layers:
        parts += [torch.nn.Linear(width, units), torch.nn.ReLU()]
        width = units
    return torch.nn.Sequential(*parts, torch.nn.Linear(width, 1))


def speed(batches: list[Batch], model: Model, seconds: float) -> float:
    """Impressions/s of steps on the batches, again and again. The table's rows are changed within the backward pass."""
    optimizer = torch.optim.Adam([*model.ctr.parameters(), *model.cvr.parameters()], lr=_DENSE_RATE, fused=True)
    begin, impressions = 0.0, 0
    for number, batch in enumerate(itertools.cycle(batches)):
        if number == _WARM_UP_STEPS:
            begin, impressions = time.perf_counter(), 0
        optimizer.zero_grad()
        model(batch).backward()
        optimizer.step()
        impressions += len(batch.click)
        if number > _WARM_UP_STEPS and time.perf_counter() - begin > seconds:
            break
    return impressions / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", required=True, help="folder of them")
    parser.add_argument("--rows", type=int, required=True, help="of the table")
    parser.add_argument("--size", type=int, required=True, help="of a row")
    parser.add_argument("--layers", type=int, nargs="+", required=True, help="units of each tower's")
    parser.add_argument("--seconds", type=float, default=12)
    arguments = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    batches = [load(path) for path in sorted(glob.glob(os.path.join(arguments.batches, "*.npz")))]
    model = Model(batches[0], arguments.rows, arguments.size, arguments.layers)
    print(speed(batches, model, arguments.seconds))


if __name__ == "__main__":
    main()
