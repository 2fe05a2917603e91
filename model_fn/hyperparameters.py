"""All settings of the model and its optimizers: one frozen dataclass whose field names are the trainer's flag names.

Lists may be given as text ("256,128"), as flags and JSON do; the dataclass turns them into tuples.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable
from typing import Any

from model_fn import optimizer_defaults, settings
from model_fn.models import MODELS
from model_fn.optimizer_defaults import ADAGRAD, ADAM, FTRL, LAZY_ADAM, MOMENTUM, SGD
from model_fn.settings import ANY

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


def _models_with(factor: str) -> dict[str, list[str]]:
    """The models that have a term whose factor is the setting of this name."""
    return {"model": [name for name, model in MODELS.items() if factor in model.terms.values()]}


def _either(*names: str) -> dict[str, tuple[str, ...]]:
    return {"optimizer": names, "embedding_optimizer": names}


# Settings that are read only where another one has some values.
_WEIGHTED = {"model": [name for name in MODELS if name not in ("esmm", "naive_cvr")]}
_NORMALIZED = {"model": [name for name in _WEIGHTED["model"] if name != "ddpo"]}
_CROSSES = {"backbone": (DCN,)}
_EXTRACTION = {"backbone": (PLE,), "behind_crosses": (PLE,)}
_FALLING = {"decay": (EXPONENTIAL, COSINE, LINEAR)}

_model = functools.partial(settings.setting, group="The model")
_loss = functools.partial(settings.setting, group="Its loss")
_optimizer = functools.partial(settings.setting, group="Its optimizers")


@dataclasses.dataclass(frozen=True)
class Hyperparameters:
    """Settings of the model (docs/models.md) and of its optimizers.

    Raises:
        ValueError: with the setting's name, its value and what is allowed.
    """

    model: str = _model("esmm", "Loss: what trains the CVR tower (docs/models.md).", choices=MODELS.keys())
    backbone: str = _model(SHARED_EMBEDDING, "What stands between embeddings and towers.", choices=BACKBONES)

    ctr_task_wgt: float = _loss(0.5, "w of w*L_CTR + (1-w)*(the rest), 0 to 1.", least=0, most=1)
    ctr_tower_wgt: float = _loss(1.0, "Factor on L_CTR beside ctr_task_wgt.", least=0)
    cvr_tower_wgt: float = _loss(1.0, "Factor on everything but L_CTR beside 1 - ctr_task_wgt.", least=0)
    counterfactual_wgt: float = _loss(
        0.1,
        "Weight of what a model adds to L_CTCVR: IPS or DR risk and the like.",
        least=0,
        read_by=_models_with("counterfactual_wgt"),
    )
    global_wgt: float = _loss(
        1.0, "Weight of L_CTCVR in all models but esmm and naive_cvr.", least=0, read_by=_models_with("global_wgt")
    )
    propensity_floor: float = _loss(
        0.0,
        "Smallest propensity that an IPS or DR weight divides by; 0: a third of the click rate seen so far.",
        least=0,
        below=1,
    )
    propensity_power: float = _loss(
        0.0,
        "Above 0: weights are 1 / log2(1 + propensity)^this, which is smooth where the floor cuts.",
        least=0,
        read_by=_WEIGHTED,
    )
    propensity_from: str = _loss(
        "",
        "CSV file of sample_id and pctr of the train split (as infer --split=train writes it) whose pctr are the "
        "propensities of training; empty: those of the model's own CTR tower.",
        read_by=_WEIGHTED,
    )
    propensity_normalize: str = _loss(
        NONE,
        "Divide weighted sums by the impressions (none) or by the sum of weights (self: SNIPS).",
        choices=(NONE, SELF),
        read_by=_NORMALIZED,
    )

    balance_wgt: float = _loss(
        0.1,
        "Weight of the balance of propensities in ips_v2, dr_v2 and stable_dr.",
        least=0,
        read_by=_models_with("balance_wgt"),
    )
    in_request_wgt: float = _loss(
        0.0, "Weight of the listwise losses within requests, beside L_CTR and beside L_CTCVR; 0: none.", least=0
    )

    negative_sampling_rate: float = _loss(
        1.0,
        "Share of the impressions without click that the log kept, 0 excluded to 1: scores are corrected for it, in "
        "infer and export; metrics stay those of the log.",
        above=0,
        most=1,
    )

    embedding_size: int = _model(16, "Width of the embedding table.", above=0)
    embedding_range: float = _model(
        0.01, "Initial values of the table are uniform between minus and plus this.", above=0
    )
    combiner: str = _model(
        SUM, "How the weighted rows of a field with many values become one vector.", choices=COMBINERS
    )
    attention: str = _model(
        "",
        "HISTORY:CANDIDATE,...: attention of an impression's field over a context's field of kind many, beside its "
        "pooled vector, as 110_14:207; empty: none.",
    )
    attention_length: int = _model(
        100, "Ids of a history that attention looks at, the first ones; 0: all.", least=0, read_by={"attention": ANY}
    )
    deep_layers: tuple[int, ...] = _model((256, 128), "Units of each tower's hidden layers, comma separated.")
    dropout: tuple[float, ...] = _model(
        (), "Drop rate (not keep rate) after each hidden layer of a tower, comma separated; empty: none."
    )
    cvr_sees_ctr: bool = _model(
        False,
        "The CVR tower, and a third one, see the click logit beside their inputs, as a constant (docs/models.md).",
    )
    batch_norm: bool = _model(
        False,
        "Batch normalization before each activation; with --distribute=mirrored each GPU's moments are those of its "
        "own batch.",
    )
    batch_norm_decay: float = _model(
        0.9, "Decay of batch normalization's moving averages.", least=0, below=1, read_by={"batch_norm": ANY}
    )
    group_layers: str = _model(
        OTHER_GROUPS + ":64,32",
        "group_towers: units of each group's layers, as user:256,128;item:64;*:32, * being all groups not named; "
        "a group left out goes to the towers without layers of its own.",
        read_by={"backbone": (GROUP_TOWERS,)},
    )
    cross_layers: int = _model(2, "dcn: number of cross layers.", above=0, read_by=_CROSSES)
    cross_rank: int = _model(32, "dcn: rank of each cross layer's matrix.", above=0, read_by=_CROSSES)
    behind_crosses: str = _model(
        SHARED_EMBEDDING, "dcn: what stands between crosses and towers.", choices=BEHIND_CROSSES, read_by=_CROSSES
    )
    num_experts: int = _model(
        8, "mmoe: number of experts.", above=0, read_by={"backbone": (MMOE,), "behind_crosses": (MMOE,)}
    )
    expert_layers: tuple[int, ...] = _model(
        (16,),
        "mmoe and ple: units of each expert's layers.",
        read_by={"backbone": (MMOE, PLE), "behind_crosses": (MMOE, PLE)},
    )
    ple_levels: int = _model(1, "ple: number of extraction levels.", above=0, read_by=_EXTRACTION)
    ple_shared_experts: int = _model(
        2, "ple: experts that all tasks share, in each level.", above=0, read_by=_EXTRACTION
    )
    ple_task_experts: int = _model(2, "ple: experts of each task, in each level.", above=0, read_by=_EXTRACTION)

    optimizer: str = _optimizer(ADAM, "Optimizer of the dense weights.", choices=OPTIMIZERS)
    embedding_optimizer: str = _optimizer(
        LAZY_ADAM,
        "Optimizer of the embedding table. Adam touches the whole table in every step; all others only the rows "
        "of the batch.",
        choices=OPTIMIZERS,
    )
    learning_rate: float = _optimizer(
        0.0, "Learning rate of the dense weights; 0: what their optimizer does well with (Adam 0.001).", least=0
    )
    embedding_learning_rate: float = _optimizer(
        0.0,
        "Learning rate of the embedding table; 0: learning_rate or, where that is 0 too, what its optimizer does well "
        "with.",
        least=0,
    )
    warmup_steps: int = _optimizer(0, "Steps over which the learning rates rise linearly from 0.", least=0)
    decay: str = _optimizer(NONE, "How the learning rates fall after the warm-up.", choices=DECAYS)
    decay_steps: int = _optimizer(
        0,
        "Steps after which exponential decay has fallen once, linear and cosine wholly; 0: those of the whole run.",
        least=0,
        read_by=_FALLING,
    )
    decay_rate: float = _optimizer(
        0.5,
        "exponential: factor for each decay_steps; else: the part that is left at last.",
        above=0,
        most=1,
        read_by=_FALLING,
    )
    momentum: float = _optimizer(0.9, "Momentum.", least=0, below=1, read_by=_either(MOMENTUM))
    adam_beta1: float = _optimizer(
        0.9, "Adam and LazyAdam: decay of the first moment.", least=0, below=1, read_by=_either(ADAM, LAZY_ADAM)
    )
    adam_beta2: float = _optimizer(
        0.999, "Adam and LazyAdam: decay of the second moment.", least=0, below=1, read_by=_either(ADAM, LAZY_ADAM)
    )
    adam_epsilon: float = _optimizer(
        1e-8, "Adam and LazyAdam: added to the root of the second moment.", above=0, read_by=_either(ADAM, LAZY_ADAM)
    )
    initial_accumulator: float = _optimizer(
        0.0,
        "Adagrad and Ftrl: initial sum of squared gradients; 0: what does well, for the table and for dense weights.",
        least=0,
        read_by=_either(ADAGRAD, FTRL),
    )
    ftrl_l1: float = _optimizer(0.0, "Ftrl: L1 strength.", least=0, read_by=_either(FTRL))
    clip_norm: float = _optimizer(
        0.0, "Largest global norm of all gradients of a step together; 0: no clipping.", least=0
    )
    l2_reg: float = _loss(0.0, "L2 on dense weights (biases excepted): l2_reg * sum(w^2)/2.", least=0)
    embedding_l2_reg: float = _loss(0.0, "L2 on the distinct rows that a batch looks up: * sum(row^2)/2.", least=0)

    precision: str = _model(
        FLOAT32,
        "Type that experts and towers compute in while training; weights and scores stay float32.",
        choices=PRECISIONS,
    )
    embedding_device: str = _model(
        AUTO,
        "Memory in which training keeps the embedding table and its optimizer's state. auto: a GPU's where there is "
        "one, or the parameter servers'.",
        choices=DEVICES,
    )

    def __post_init__(self) -> None:
        for name, kind in (("deep_layers", int), ("dropout", float), ("expert_layers", int)):
            object.__setattr__(self, name, self._tuple(name, kind))
        for name, allowed in settings.refused(self):
            raise ValueError(f"{name} {getattr(self, name)!r}: {allowed}")
        self._check_layers()

    @property
    def dense_learning_rate(self) -> float:
        """Learning rate of the dense weights before warm-up and decay."""
        return self.learning_rate or optimizer_defaults.DENSE[self.optimizer].rate

    @property
    def table_learning_rate(self) -> float:
        """Learning rate of the embedding table before warm-up and decay."""
        return (
            self.embedding_learning_rate
            or self.learning_rate
            or optimizer_defaults.TABLE[self.embedding_optimizer].rate
        )

    def accumulator(self, name: str, of_table: bool) -> float:
        """What sums of squared gradients begin with in an optimizer of this name."""
        defaults = optimizer_defaults.TABLE if of_table else optimizer_defaults.DENSE
        return self.initial_accumulator or defaults[name].accumulator

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
