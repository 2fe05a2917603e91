"""All settings of the model and its optimizers: one frozen dataclass whose field names are the trainer's flag names.

A field's `metadata` holds what a flag needs: `help`, and `choices` where only some words are allowed. Lists may be
given as text ("256,128"), as flags and JSON do; the dataclass turns them into tuples.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Iterable
from typing import Any

from model_fn.models import MODELS

SHARED_EMBEDDING = "shared_embedding"
GROUP_TOWERS = "group_towers"
MMOE = "mmoe"
PLE = "ple"
DCN = "dcn"
BACKBONES = [SHARED_EMBEDDING, GROUP_TOWERS, MMOE, PLE, DCN]
# What may stand behind crosses: the towers themselves, or experts.
BEHIND_CROSSES = (SHARED_EMBEDDING, MMOE, PLE)

SUM = "sum"
MEAN = "mean"
SQRTN = "sqrtn"
COMBINERS = (SUM, MEAN, SQRTN)

NONE = "none"
SELF = "self"

ADAM = "Adam"
LAZY_ADAM = "LazyAdam"
ADAGRAD = "Adagrad"
MOMENTUM = "Momentum"
FTRL = "Ftrl"
SGD = "SGD"
OPTIMIZERS = (ADAM, LAZY_ADAM, ADAGRAD, MOMENTUM, FTRL, SGD)

EXPONENTIAL = "exponential"
COSINE = "cosine"
LINEAR = "linear"
DECAYS = (NONE, EXPONENTIAL, COSINE, LINEAR)

FLOAT32 = "float32"
BFLOAT16 = "bfloat16"
FLOAT16 = "float16"
PRECISIONS = (FLOAT32, BFLOAT16, FLOAT16)

CPU = "cpu"
GPU = "gpu"
AUTO = "auto"
DEVICES = (AUTO, CPU, GPU)

# In `group_layers`: the groups that are not named.
OTHER_GROUPS = "*"


def parse_group_layers(text: str) -> dict[str, tuple[int, ...]]:
    """Layers of each group from "user:256,128;item:64;*:32".

    Raises:
        ValueError: a part without a colon, or with units that are no whole numbers.
    """
    found: dict[str, tuple[int, ...]] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        group, colon, units = part.rpartition(":")
        if not colon or group in found:
            raise ValueError(f"{part!r}: each group is written once, as in user:256,128;item:64")
        found[group.strip()] = _numbers(units, int)
    return found


def parse_attention(text: str) -> list[tuple[str, str]]:
    """Histories and their candidates from "history:item,shops:shop".

    Raises:
        ValueError: a part that is not FIELD:CANDIDATE, or a history twice.
    """
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        history, colon, candidate = (word.strip() for word in part.partition(":"))
        if not (history and colon and candidate) or history in found:
            raise ValueError(f"{part!r}: each history is written once, as in history:item,shops:shop")
        found[history] = candidate
    return list(found.items())


def _numbers(value: str | Iterable[Any], kind: Callable[[Any], Any]) -> tuple:
    parts = filter(None, (part.strip() for part in value.split(","))) if isinstance(value, str) else value
    return tuple(kind(part) for part in parts)


def _setting(default: Any, help: str, choices: Collection[str] = ()) -> Any:
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices})


_POSITIVE: tuple[str, ...] = (
    "embedding_size",
    "embedding_range",
    "num_experts",
    "cross_layers",
    "cross_rank",
    "ple_levels",
    "ple_shared_experts",
    "ple_task_experts",
    "learning_rate",
    "adam_epsilon",
    "decay_rate",
)
_AT_LEAST_0: tuple[str, ...] = (
    "ctr_tower_wgt",
    "cvr_tower_wgt",
    "counterfactual_wgt",
    "global_wgt",
    "attention_length",
    "balance_wgt",
    "in_request_wgt",
    "propensity_power",
    "embedding_learning_rate",
    "warmup_steps",
    "decay_steps",
    "initial_accumulator",
    "ftrl_l1",
    "clip_norm",
    "l2_reg",
    "embedding_l2_reg",
)
_BELOW_1: tuple[str, ...] = ("propensity_floor", "momentum", "adam_beta1", "adam_beta2", "batch_norm_decay")


@dataclasses.dataclass(frozen=True)
class Hyperparameters:
    """Settings of the model (docs/models.md) and of its optimizers.

    Raises:
        ValueError: with the setting's name, its value and what is allowed.
    """

    model: str = _setting("esmm", "Loss: what trains the CVR tower (docs/models.md).", MODELS.keys())
    backbone: str = _setting(SHARED_EMBEDDING, "What stands between embeddings and towers.", BACKBONES)

    ctr_task_wgt: float = _setting(0.5, "w of w*L_CTR + (1-w)*(the rest), 0 to 1.")
    ctr_tower_wgt: float = _setting(1.0, "Factor on L_CTR beside ctr_task_wgt.")
    cvr_tower_wgt: float = _setting(1.0, "Factor on everything but L_CTR beside 1 - ctr_task_wgt.")
    counterfactual_wgt: float = _setting(0.1, "Weight of what a model adds to L_CTCVR: IPS or DR risk and the like.")
    global_wgt: float = _setting(1.0, "Weight of L_CTCVR in all models but esmm and naive_cvr.")
    propensity_floor: float = _setting(
        0.0, "Smallest propensity that an IPS or DR weight divides by; 0: a third of the click rate seen so far."
    )
    propensity_power: float = _setting(
        0.0, "Above 0: weights are 1 / log2(1 + propensity)^this, which is smooth where the floor cuts."
    )
    propensity_from: str = _setting(
        "",
        "CSV file of sample_id and pctr of the train split (as infer --split=train writes it) whose pctr are the "
        "propensities of training; empty: those of the model's own CTR tower.",
    )
    propensity_normalize: str = _setting(
        NONE, "Divide weighted sums by the impressions (none) or by the sum of weights (self: SNIPS).", (NONE, SELF)
    )

    balance_wgt: float = _setting(0.1, "Weight of the balance of propensities in ips_v2, dr_v2 and stable_dr.")
    in_request_wgt: float = _setting(
        0.0, "Weight of the listwise losses within requests, beside L_CTR and beside L_CTCVR; 0: none."
    )

    negative_sampling_rate: float = _setting(
        1.0,
        "Share of the impressions without click that the log kept, 0 excluded to 1: scores are corrected for it, in "
        "infer and export; metrics stay those of the log.",
    )

    embedding_size: int = _setting(16, "Width of the embedding table.")
    embedding_range: float = _setting(0.01, "Initial values of the table are uniform between minus and plus this.")
    combiner: str = _setting(SUM, "How the weighted rows of a field with many values become one vector.", COMBINERS)
    attention: str = _setting(
        "",
        "HISTORY:CANDIDATE,...: attention of an impression's field over a context's field of kind many, beside its "
        "pooled vector, as 110_14:207; empty: none.",
    )
    attention_length: int = _setting(100, "Ids of a history that attention looks at, the first ones; 0: all.")
    deep_layers: tuple[int, ...] = _setting((256, 128), "Units of each tower's hidden layers, comma separated.")
    dropout: tuple[float, ...] = _setting(
        (), "Drop rate (not keep rate) after each hidden layer of a tower, comma separated; empty: none."
    )
    batch_norm: bool = _setting(
        False,
        "Batch normalization before each activation; with --distribute=mirrored each GPU's moments are those of its "
        "own batch.",
    )
    batch_norm_decay: float = _setting(0.9, "Decay of batch normalization's moving averages.")
    group_layers: str = _setting(
        OTHER_GROUPS + ":64,32",
        "group_towers: units of each group's layers, as user:256,128;item:64;*:32, * being all groups not named; "
        "a group left out goes to the towers without layers of its own.",
    )
    cross_layers: int = _setting(2, "dcn: number of cross layers.")
    cross_rank: int = _setting(32, "dcn: rank of each cross layer's matrix.")
    behind_crosses: str = _setting(SHARED_EMBEDDING, "dcn: what stands between crosses and towers.", BEHIND_CROSSES)
    num_experts: int = _setting(8, "mmoe: number of experts.")
    expert_layers: tuple[int, ...] = _setting((16,), "mmoe and ple: units of each expert's layers.")
    ple_levels: int = _setting(1, "ple: number of extraction levels.")
    ple_shared_experts: int = _setting(2, "ple: experts that all tasks share, in each level.")
    ple_task_experts: int = _setting(2, "ple: experts of each task, in each level.")

    optimizer: str = _setting(ADAM, "Optimizer of the dense weights.", OPTIMIZERS)
    embedding_optimizer: str = _setting(
        LAZY_ADAM,
        "Optimizer of the embedding table. Adam touches the whole table in every step; all others only the rows "
        "of the batch.",
        OPTIMIZERS,
    )
    learning_rate: float = _setting(0.001, "Learning rate of the dense weights.")
    embedding_learning_rate: float = _setting(0.0, "Learning rate of the embedding table; 0: learning_rate.")
    warmup_steps: int = _setting(0, "Steps over which the learning rates rise linearly from 0.")
    decay: str = _setting(NONE, "How the learning rates fall after the warm-up.", DECAYS)
    decay_steps: int = _setting(
        0, "Steps after which exponential decay has fallen once, linear and cosine wholly; 0: those of the whole run."
    )
    decay_rate: float = _setting(0.5, "exponential: factor for each decay_steps; else: the part that is left at last.")
    momentum: float = _setting(0.9, "Momentum.")
    adam_beta1: float = _setting(0.9, "Adam and LazyAdam: decay of the first moment.")
    adam_beta2: float = _setting(0.999, "Adam and LazyAdam: decay of the second moment.")
    adam_epsilon: float = _setting(1e-8, "Adam and LazyAdam: added to the root of the second moment.")
    initial_accumulator: float = _setting(0.1, "Adagrad and Ftrl: initial sum of squared gradients.")
    ftrl_l1: float = _setting(0.0, "Ftrl: L1 strength.")
    clip_norm: float = _setting(0.0, "Largest global norm of all gradients of a step together; 0: no clipping.")
    l2_reg: float = _setting(0.0, "L2 on dense weights (biases excepted): l2_reg * sum(w^2)/2.")
    embedding_l2_reg: float = _setting(0.0, "L2 on the distinct rows that a batch looks up: * sum(row^2)/2.")

    precision: str = _setting(FLOAT32, "Type that experts and towers compute in; weights stay float32.", PRECISIONS)
    embedding_device: str = _setting(
        AUTO,
        "Memory in which training keeps the embedding table and its optimizer's state. auto: a GPU's where there is "
        "one, or the parameter servers'.",
        DEVICES,
    )

    def __post_init__(self) -> None:
        for name, kind in (("deep_layers", int), ("dropout", float), ("expert_layers", int)):
            object.__setattr__(self, name, self._tuple(name, kind))
        for field in dataclasses.fields(self):
            choices = field.metadata["choices"]
            if choices and getattr(self, field.name) not in choices:
                raise ValueError(f"{field.name} {getattr(self, field.name)!r}: allowed are {', '.join(choices)}")
        self._check_numbers()
        self._check_layers()

    @property
    def table_learning_rate(self) -> float:
        """Learning rate of the embedding table before warm-up and decay."""
        return self.embedding_learning_rate or self.learning_rate

    def for_run(self, steps: int) -> Hyperparameters:
        """The settings with `decay_steps` of a run of so many steps, where they were left open."""
        if self.decay == NONE or self.decay_steps:
            return self
        return dataclasses.replace(self, decay_steps=max(1, steps - self.warmup_steps))

    def layers_of_group(self, group: str) -> tuple[int, ...]:
        """Units of a group's own layers in `group_towers`."""
        layers = parse_group_layers(self.group_layers)
        return layers.get(group, layers.get(OTHER_GROUPS, ()))

    def to_json(self) -> str:
        """JSON text that `from_json` turns into an equal object."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Hyperparameters:
        """The settings that `to_json` wrote; a setting left out has its default.

        Raises:
            ValueError: not JSON, an unknown setting, or a value that is not allowed.
        """
        values = json.loads(text)
        if unknown := values.keys() - {field.name for field in dataclasses.fields(cls)}:
            raise ValueError(f"unknown hyperparameters {', '.join(sorted(unknown))}: made by another release?")
        return cls(**values)

    def _tuple(self, name: str, kind: Callable[[Any], Any]) -> tuple:
        value = getattr(self, name)
        try:
            return _numbers(value, kind)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} {value!r}: numbers separated by commas are needed") from error

    def _check_numbers(self) -> None:
        for name in _POSITIVE:
            self._demand(name, getattr(self, name) > 0, "more than 0")
        for name in _AT_LEAST_0:
            self._demand(name, getattr(self, name) >= 0, "0 or more")
        for name in _BELOW_1:
            self._demand(name, 0 <= getattr(self, name) < 1, "0 or more, less than 1")
        self._demand("decay_rate", self.decay_rate <= 1, "more than 0, at most 1")
        self._demand("negative_sampling_rate", 0 < self.negative_sampling_rate <= 1, "more than 0, at most 1")
        self._demand("ctr_task_wgt", 0 <= self.ctr_task_wgt <= 1, "0 to 1")

    def _check_layers(self) -> None:
        try:
            parse_attention(self.attention)
        except ValueError as error:
            raise ValueError(f"attention {self.attention!r}: {error}") from error
        try:
            group_layers = parse_group_layers(self.group_layers)
        except ValueError as error:
            raise ValueError(f"group_layers {self.group_layers!r}: {error}") from error
        for units in (self.deep_layers, self.expert_layers, *group_layers.values()):
            if any(unit < 1 for unit in units):
                raise ValueError(f"layers {units}: units are 1 or more")
        self._demand("expert_layers", bool(self.expert_layers), "one layer or more")
        self._demand("dropout", all(0 <= rate < 1 for rate in self.dropout), "drop rates of 0 or more, less than 1")
        fits = len(self.dropout) in (0, len(self.deep_layers))
        self._demand("dropout", fits, f"one rate for each of deep_layers ({len(self.deep_layers)}), or none")

    def _demand(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise ValueError(f"{name} {getattr(self, name)!r}: allowed is {allowed}")
