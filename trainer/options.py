"""What a run of the command shall do: one frozen dataclass whose field names are flag names. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from features import names
from input_fn.options import InputOptions
from model_fn.evaluation import Evaluation, weighted
from serving.export_options import SAMPLE_REQUESTS, WARM_UPS, ExportOptions

TRAIN = "train"
EVAL = "eval"
INFER = "infer"
EXPORT = "export"
REPORT = "report"
TASK_TYPES = (TRAIN, EVAL, INFER, EXPORT, REPORT)

NO_DISTRIBUTION = "none"
MIRRORED = "mirrored"
DISTRIBUTIONS = (NO_DISTRIBUTION, MIRRORED)

BEST = "best"
FINAL = "final"
EXPORTERS = (BEST, FINAL)

CSV = "csv"
PARQUET = "parquet"
FORMATS = (CSV, PARQUET)

# Metrics by which models can be compared, and whether more is better.
_ENDINGS = {
    "_auc": True,
    "_auc_all": True,
    "_gauc": True,
    "_logloss": False,
    "_normalized_entropy": False,
    "_ece": False,
}


def comparable_metrics() -> dict[str, bool]:
    """Metrics that say which of two models is better: name -> whether more is better."""
    every = Evaluation(with_users=True).metrics()
    found = {metric: more for metric in every for ending, more in _ENDINGS.items() if metric.endswith(ending)}
    return found | {weighted(metric): more for metric, more in found.items()}


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, (word.strip() for word in text.split(",")))))


def _setting(default: Any, help: str, choices: tuple[str, ...] = ()) -> Any:
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices})


@dataclasses.dataclass(frozen=True)
class Options:
    """Everything that is not a hyper-parameter.

    Raises:
        ValueError: with the setting's name, its value and what is allowed.
    """

    task_type: str = _setting(TRAIN, "What to do.", TASK_TYPES)
    data_dir: str = _setting("", "Folder that python -m preprocess made. Local or remote.")
    model_dir: str = _setting(
        "",
        "Folder of checkpoints, settings, TensorBoard events, eval.json and pictures; report: one or several, comma "
        "separated.",
    )

    batch_size: int = _setting(InputOptions.batch_size, "Impressions in a batch, nearly: it holds whole pieces.")
    max_impressions_per_context: int = _setting(
        InputOptions.max_impressions_per_context,
        "Training cuts requests into pieces of at most so many impressions and spreads them over batches, so that a "
        "batch mixes contexts; 0: whole requests.",
    )
    shuffle_buffer: int = _setting(InputOptions.shuffle_buffer, "Records that training draws the next one from.")
    num_epochs: int = _setting(InputOptions.num_epochs, "Passes over the train split, those before a resume included.")
    max_steps: int = _setting(0, "Stop at this global step; 0: when the epochs are over.")
    seed: int = _setting(1, "Of weights, dropout and the order of the data. With --num_threads=1 a run is repeatable.")
    num_threads: int = _setting(0, "Threads of the model and as many of the input; 0: one a core.")
    distribute: str = _setting(NO_DISTRIBUTION, "mirrored: all GPUs of this machine.", DISTRIBUTIONS)

    clear_existing_model: bool = _setting(False, "train: delete model_dir first.")
    warm_start_from: str = _setting("", "train: model_dir of a model of the same settings whose weights to start from.")
    continue_from: str = _setting(
        "",
        "train: model_dir of the model of the day before, to go on from: weights, optimizer's state and table rows by "
        "key, whatever vocabulary data_dir has. Settings that are not named are its.",
    )
    accumulator_decay: float = _setting(
        1.0,
        "train with --continue_from: factor on Adagrad's accumulators: else months of data stop all learning.",
    )
    validate_first: bool = _setting(
        False, "train with --continue_from: score the new data by the old model first (progressive.json)."
    )
    log_steps: int = _setting(100, "Steps from one line on the terminal to the next, and between TensorBoard points.")
    save_checkpoints_secs: int = _setting(600, "Seconds between checkpoints: what a killed run loses at most.")
    keep_checkpoint_max: int = _setting(3, "Checkpoints to keep.")
    eval_throttle_secs: int = _setting(600, "train: seconds between evaluations at least; the last one always is.")
    eval_impressions: int = _setting(
        1_000_000, "train: impressions of the test split that an evaluation looks at, nearly; 0: all. eval: always all."
    )
    exporters: str = _setting(
        "", "train: comma separated. best: export after each evaluation with a better --metric; final: at the end."
    )
    metric: str = _setting("ctcvr_auc", "Metric that --exporters=best and --early_stopping_evals go by.")
    early_stopping_evals: int = _setting(
        0, "Stop after so many evaluations in a row without a better --metric; 0: never."
    )

    split: str = _setting(
        names.TEST, "eval: splits to read, comma separated; infer: split; report: split that was evaluated."
    )
    eval_splits: str = _setting(
        names.TEST,
        "train: splits to evaluate, comma separated; the first one counts for --metric. Empty: none. One that the data "
        "do not have is left out.",
    )
    checkpoint: str = _setting(
        "", "eval, infer, export: global step of a checkpoint, best, or a path; empty: the latest one."
    )
    predictions: str = _setting("", "infer: file to write.")
    format: str = _setting(CSV, "infer: form of the file.", FORMATS)
    keep_columns: str = _setting(
        "", "infer: columns of the records to write beside the scores, comma separated: fields of kind one, labels."
    )
    ordered: bool = _setting(False, "infer: in the order of the record files; else several are read side by side.")
    export_dir: str = _setting("", "export: folder that gets a new version of the served model.")
    warm_up: str = _setting(
        ExportOptions.warm_up,
        "Exports: the warm-up file. all: a call of each signature; examples: none of the columnar one, for servers "
        "with --enable_batching, which refuse it; none: no file.",
        WARM_UPS,
    )
    sample_request: str = _setting(
        ExportOptions.sample_request,
        "Exports: the request that travels in them. synthetic: frequent values of each field; log: one of the log as "
        "it is, which shows one person's history to whoever has the model.",
        SAMPLE_REQUESTS,
    )
    report: str = _setting("", "report: HTML file to write; empty: model_report.html in the first model_dir.")

    def __post_init__(self) -> None:
        self._demand(
            "data_dir", self.task_type == REPORT or bool(self.data_dir), "the folder that python -m preprocess made"
        )
        self._demand("model_dir", bool(self.model_dir), "a folder")
        self._demand("predictions", self.task_type != INFER or bool(self.predictions), "a file to write")
        self._demand("export_dir", self.task_type != EXPORT or bool(self.export_dir), "a folder")
        for field in dataclasses.fields(self):
            choices = field.metadata["choices"]
            self._demand(field.name, not choices or getattr(self, field.name) in choices, ", ".join(choices))
        unknown = set(self.exporter_names) - set(EXPORTERS)
        self._demand("exporters", not unknown, f"any of {', '.join(EXPORTERS)}, separated by commas")
        self._demand("metric", self.metric in comparable_metrics(), ", ".join(comparable_metrics()))
        self._check_numbers()

    def _check_numbers(self) -> None:
        for name in ("log_steps", "save_checkpoints_secs", "keep_checkpoint_max"):
            self._demand(name, getattr(self, name) >= 1, "1 or more")
        for name in ("max_steps", "eval_throttle_secs", "eval_impressions", "early_stopping_evals"):
            self._demand(name, getattr(self, name) >= 0, "0 or more")
        self._demand("accumulator_decay", 0 < self.accumulator_decay <= 1, "above 0, to 1")
        for name in ("accumulator_decay", "validate_first"):
            unset = getattr(self, name) == getattr(Options, name)
            self._demand(name, unset or bool(self.continue_from), "with --continue_from only")
        both = self.continue_from and self.warm_start_from
        self._demand("continue_from", not both, "one of --continue_from and --warm_start_from")
        same = self.continue_from and os.path.abspath(self.continue_from) == os.path.abspath(self.model_dir)
        self._demand("continue_from", not same, "another folder than --model_dir")
        self.training_input()

    def _demand(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise ValueError(f"--{name}={getattr(self, name)}: allowed is {allowed}")

    @property
    def exporter_names(self) -> tuple[str, ...]:
        """Those of --exporters."""
        return _words(self.exporters)

    @property
    def model_dirs(self) -> tuple[str, ...]:
        """The folders that --model_dir names to a report."""
        return _words(self.model_dir)

    def export_options(self) -> ExportOptions:
        """What exports carry beside the model."""
        return ExportOptions(warm_up=self.warm_up, sample_request=self.sample_request)

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of --split."""
        return _words(self.split)

    @property
    def evaluated_splits(self) -> tuple[str, ...]:
        """Those of --eval_splits."""
        return _words(self.eval_splits)

    @property
    def kept_columns(self) -> tuple[str, ...]:
        """Those of --keep_columns."""
        return _words(self.keep_columns)

    def training_input(self, shard_count: int = 1, shard_index: int = 0) -> InputOptions:
        """How training reads from the start, traced."""
        return InputOptions(
            batch_size=self.batch_size,
            max_impressions_per_context=self.max_impressions_per_context,
            shuffle_buffer=self.shuffle_buffer,
            seed=self.seed,
            num_epochs=self.num_epochs,
            num_threads=self.num_threads,
            shard_count=shard_count,
            shard_index=shard_index,
            trace=True,
        )

    def scoring_input(self, ordered: bool) -> InputOptions:
        """How eval and infer read: everything once, requests whole."""
        return InputOptions(batch_size=self.batch_size, shuffle=False, ordered=ordered, num_threads=self.num_threads)
