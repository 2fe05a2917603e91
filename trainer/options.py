"""What a run of the command shall do: one frozen dataclass whose field names are flag names. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import functools
import os

from features import names
from input_fn.options import InputOptions
from model_fn import settings
from model_fn.calibration import METHODS, PLATT
from model_fn.evaluation import NDCG, Evaluation, known, weighted
from model_fn.settings import ANY
from serving.export_options import SAMPLE_REQUESTS, TABLE_PRECISIONS, WARM_UPS, ExportOptions

TRAIN = "train"
EVAL = "eval"
INFER = "infer"
EXPORT = "export"
REPORT = "report"
CALIBRATE = "calibrate"
IMPORTANCE = "importance"
TUNE = "tune"
TASK_TYPES = (TRAIN, TUNE, EVAL, CALIBRATE, IMPORTANCE, INFER, EXPORT, REPORT)

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
    f"_{NDCG}": True,
    "_logloss": False,
    "_normalized_entropy": False,
    "_ece": False,
}


def comparable_metrics() -> dict[str, bool]:
    """Metrics that say which of two models is better: name -> whether more is better."""
    every = Evaluation(with_users=True, with_weights=True).metrics()
    endings = _ENDINGS | {known(ending): more for ending, more in _ENDINGS.items()}
    found = {metric: more for metric in every for ending, more in endings.items() if metric.endswith(ending)}
    return found | {weighted(metric): more for metric, more in found.items() if weighted(metric) in every}


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, (word.strip() for word in text.split(",")))))


_TRAINING = {"task_type": (TRAIN, TUNE)}

_what = functools.partial(settings.setting, group="What to do, and where")
_data = functools.partial(settings.setting, group="Reading the data")
_start = functools.partial(settings.setting, group="Where training starts")
_saving = functools.partial(settings.setting, group="What training shows and keeps")
_evaluation = functools.partial(settings.setting, group="Evaluation")
_result = functools.partial(settings.setting, group="Scores, exports, reports")


@dataclasses.dataclass(frozen=True)
class Options:
    """Everything that is not a hyper-parameter.

    Raises:
        ValueError: with the setting's name, its value and what is allowed.
    """

    task_type: str = _what(TRAIN, "What to do.", choices=TASK_TYPES)
    data_dir: str = _what("", "Folder that python -m preprocess made. Local or remote.")
    model_dir: str = _what(
        "",
        "Folder of checkpoints, settings, TensorBoard events, eval.json and pictures; report: one or several, comma "
        "separated.",
    )

    batch_size: int = _data(InputOptions.batch_size, "Impressions in a batch, nearly: it holds whole pieces.")
    max_impressions_per_context: int = _data(
        InputOptions.max_impressions_per_context,
        "Training cuts requests into pieces of at most so many impressions and spreads them over batches, so that a "
        "batch mixes contexts; 0: whole requests.",
        read_by=_TRAINING,
    )
    shuffle_buffer: int = _data(
        InputOptions.shuffle_buffer, "Records that training draws the next one from.", read_by=_TRAINING
    )
    num_epochs: int = _data(
        InputOptions.num_epochs, "Passes over the train split, those before a resume included.", read_by=_TRAINING
    )
    max_steps: int = _data(0, "Stop at this global step; 0: when the epochs are over.", least=0, read_by=_TRAINING)
    seed: int = _what(1, "Of weights, dropout and the order of the data. With --num_threads=1 a run is repeatable.")
    num_threads: int = _what(0, "Threads of the model and as many of the input; 0: one a core.")
    distribute: str = _what(
        NO_DISTRIBUTION, "mirrored: all GPUs of this machine.", choices=DISTRIBUTIONS, read_by=_TRAINING
    )

    sync_replicas: bool = _what(
        False,
        "In a cluster of TF_CONFIG: a step is one of all processes that train, whose gradients the chief applies "
        "together; else each applies its own.",
        read_by=_TRAINING,
    )

    clear_existing_model: bool = _start(False, "train: delete model_dir first.", read_by=_TRAINING)
    warm_start_from: str = _start(
        "", "train: model_dir of a model of the same settings whose weights to start from.", read_by=_TRAINING
    )
    pretrained: str = _start(
        "",
        "train: FIELD:FILE.npz,...: arrays `ids`, as the log has them, and `vectors` of --embedding_size numbers, with "
        "which the rows of a new model begin.",
        read_by=_TRAINING,
    )
    continue_from: str = _start(
        "",
        "train: model_dir of the model of the day before, to go on from: weights, optimizer's state and table rows by "
        "key, whatever vocabulary data_dir has. Settings that are not named are its.",
        read_by=_TRAINING,
    )
    accumulator_decay: float = _start(
        1.0,
        "train with --continue_from: factor on Adagrad's accumulators: else months of data stop all learning.",
        above=0,
        most=1,
        read_by={"continue_from": ANY},
    )
    validate_first: bool = _start(
        False,
        "train with --continue_from: score the new data by the old model first (progressive.json).",
        read_by={"continue_from": ANY},
    )
    log_steps: int = _saving(
        100,
        "Steps from one line on the terminal to the next, and between TensorBoard points.",
        least=1,
        read_by=_TRAINING,
    )
    profile_steps: str = _saving(
        "",
        "FIRST,LAST: write a profile of the steps behind global step FIRST up to LAST, which TensorBoard's profile "
        "plugin shows; empty: none.",
        read_by=_TRAINING,
    )
    save_checkpoints_secs: int = _saving(
        600, "Seconds between checkpoints: what a killed run loses at most.", least=1, read_by=_TRAINING
    )
    keep_checkpoint_max: int = _saving(3, "Checkpoints to keep.", least=1, read_by=_TRAINING)
    eval_throttle_secs: int = _evaluation(
        600, "train: seconds between evaluations at least; the last one always is.", least=0, read_by=_TRAINING
    )
    eval_impressions: int = _evaluation(
        1_000_000,
        "train, importance: impressions of the split that are looked at, nearly; 0: all. eval: always all.",
        least=0,
        read_by={"task_type": (TRAIN, IMPORTANCE)},
    )
    exporters: str = _evaluation(
        "",
        "train: comma separated. best: export after each evaluation with a better --metric; final: at the end.",
        read_by=_TRAINING,
    )
    metric: str = _evaluation("ctcvr_auc", "Metric that --exporters=best and --early_stopping_evals go by.")
    early_stopping_evals: int = _evaluation(
        0, "Stop after so many evaluations in a row without a better --metric; 0: never.", least=0, read_by=_TRAINING
    )

    search: str = _what(
        "", "tune: YAML file of settings with what may be chosen (configs/search.yaml).", read_by={"task_type": (TUNE,)}
    )
    trials: int = _what(
        20, "tune: models to train, those of earlier runs included.", least=1, read_by={"task_type": (TUNE,)}
    )
    tune_processes: int = _what(
        1, "tune: trainings side by side, each with its share of the cores.", least=1, read_by={"task_type": (TUNE,)}
    )
    split: str = _evaluation(
        names.TEST,
        "eval: splits to read, comma separated; calibrate, importance, infer: split; report: split that was evaluated.",
        read_by={"task_type": (EVAL, CALIBRATE, IMPORTANCE, INFER, REPORT)},
    )
    eval_splits: str = _evaluation(
        names.TEST,
        "train: splits to evaluate, comma separated; the first one counts for --metric. Empty: none. One that the data "
        "do not have is left out.",
        read_by=_TRAINING,
    )
    slice_by: str = _evaluation(
        "",
        "train and eval: fields of kind one, comma separated, for whose frequent values the metrics are given as well, "
        "in eval.json and the model report.",
        read_by={"task_type": (TRAIN, TUNE, EVAL)},
    )
    checkpoint: str = _evaluation(
        "",
        "eval, calibrate, importance, infer, export: global step of a checkpoint, best, or a path; empty: the latest "
        "one.",
        read_by={"task_type": (EVAL, CALIBRATE, IMPORTANCE, INFER, EXPORT)},
    )
    calibration: str = _result(
        PLATT,
        "calibrate: a line through each tower's logits (platt), which some dozens of conversions can tell, or a free "
        "increasing map (isotonic), which needs thousands.",
        choices=METHODS,
        read_by={"task_type": (CALIBRATE,)},
    )
    calibrated: bool = _result(
        True,
        "infer, export: put the maps that --task_type=calibrate found for this checkpoint behind the model's scores.",
        read_by={"task_type": (INFER, EXPORT)},
    )
    predictions: str = _result("", "infer: file to write.", read_by={"task_type": (INFER,)})
    format: str = _result(CSV, "infer: form of the file.", choices=FORMATS, read_by={"task_type": (INFER,)})
    keep_columns: str = _result(
        "",
        "infer: columns of the records to write beside the scores, comma separated: fields of kind one, labels.",
        read_by={"task_type": (INFER,)},
    )
    ordered: bool = _result(
        False,
        "infer: in the order of the record files; else several are read side by side.",
        read_by={"task_type": (INFER,)},
    )
    export_dir: str = _result(
        "", "export: folder that gets a new version of the served model.", read_by={"task_type": (EXPORT,)}
    )
    warm_up: str = _result(
        ExportOptions.warm_up,
        "Exports: the warm-up file. all: a call of each signature; examples: none of the columnar one, for servers "
        "with --enable_batching, which refuse it; none: no file.",
        choices=WARM_UPS,
        read_by={"task_type": (EXPORT,), "exporters": ANY},
    )
    sample_request: str = _result(
        ExportOptions.sample_request,
        "Exports: the request that travels in them. synthetic: frequent values of each field; log: one of the log as "
        "it is, which shows one person's history to whoever has the model.",
        choices=SAMPLE_REQUESTS,
        read_by={"task_type": (EXPORT,), "exporters": ANY},
    )
    table_precision: str = _result(
        ExportOptions.table_precision,
        "Exports: how the embedding table is kept. float16: half the size, scores nearly the same.",
        choices=TABLE_PRECISIONS,
        read_by={"task_type": (EXPORT,), "exporters": ANY},
    )
    check_export: bool = _result(
        ExportOptions.checked,
        "Exports: a fresh process tries the version before it gets its number; off where something else will.",
        read_by={"task_type": (EXPORT,), "exporters": ANY},
    )
    report: str = _result(
        "",
        "report: HTML file to write; empty: model_report.html in the first model_dir.",
        read_by={"task_type": (REPORT, TUNE)},
    )

    def __post_init__(self) -> None:
        self._demand(
            "data_dir", self.task_type == REPORT or bool(self.data_dir), "the folder that python -m preprocess made"
        )
        self._demand("model_dir", bool(self.model_dir), "a folder")
        self._demand("predictions", self.task_type != INFER or bool(self.predictions), "a file to write")
        remote_search = self.task_type == TUNE and "://" in self.model_dir
        self._demand("model_dir", not remote_search, "a local folder, for tune keeps its journal there")
        self._demand("search", self.task_type != TUNE or bool(self.search), "a YAML file")
        self._demand("export_dir", self.task_type != EXPORT or bool(self.export_dir), "a folder")
        reads_one = self.task_type in (INFER, REPORT)
        some = len(self.splits) == 1 if reads_one else bool(self.splits)
        self._demand("split", some, "one split" + " or several, separated by commas" * (not reads_one))
        for name, allowed in settings.refused(self):
            raise ValueError(f"--{name}={getattr(self, name)}: {allowed}")
        unknown = set(self.exporter_names) - set(EXPORTERS)
        self._demand("exporters", not unknown, f"any of {', '.join(EXPORTERS)}, separated by commas")
        self._demand("profile_steps", self._profile_is_possible(), "FIRST,LAST: two steps, 0 <= FIRST < LAST")
        whole = all(field and path for field, path in self.pretrained_files)
        self._demand("pretrained", whole, "FIELD:FILE.npz, with commas between several")
        both = self.pretrained and (self.warm_start_from or self.continue_from)
        self._demand("pretrained", not both, "a start without --warm_start_from and --continue_from")
        self._demand("metric", self.metric in comparable_metrics(), ", ".join(comparable_metrics()))
        self._check_start()

    def _check_start(self) -> None:
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

    def _profile_is_possible(self) -> bool:
        if not self.profile_steps:
            return True
        ends = [word.strip() for word in self.profile_steps.split(",")]
        return len(ends) == 2 and all(end.isdecimal() for end in ends) and int(ends[0]) < int(ends[1])

    @property
    def profiled_steps(self) -> tuple[int, int] | None:
        """Ends of --profile_steps; None without."""
        if not self.profile_steps:
            return None
        first, last = map(int, self.profile_steps.split(","))
        return first, last

    @property
    def pretrained_files(self) -> list[tuple[str, str]]:
        """Field and file of each part of --pretrained."""
        return [(field.strip(), path.strip()) for field, _, path in (w.partition(":") for w in _words(self.pretrained))]

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
        return ExportOptions(self.warm_up, self.sample_request, self.check_export, self.table_precision)

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of --split."""
        return _words(self.split)

    @property
    def evaluated_splits(self) -> tuple[str, ...]:
        """Those of --eval_splits."""
        return _words(self.eval_splits)

    @property
    def sliced_fields(self) -> tuple[str, ...]:
        """Those of --slice_by."""
        return _words(self.slice_by)

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
