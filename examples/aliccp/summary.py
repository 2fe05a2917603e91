"""The page at the end of the chain: what came out, how good, how big, how fast, and where to look."""

from __future__ import annotations

import csv
import dataclasses
import glob
import json
import os
from typing import Any

import storage
from model_fn.evaluation import standard_error

SCORES = ("pctr", "pcvr", "pctcvr")
SIMPLEST = "esmm"
TASKS = {"CTR AUC": "ctr_auc", "CVR AUC (clicked)": "cvr_auc", "CTCVR AUC": "ctcvr_auc"}
_ERRORS = "± is the standard error that comes from the test split being a sample (Hanley and McNeil 1982)."
_OF_ALL = (
    "CVR AUC, all: against what each impression would have led to, clicked or not, which only a simulated log knows."
)
# What only the truth of a simulated log can tell.
RANKING = "cvr_auc_would_convert_all"
TRUTH = {
    "bias of pCVR, all": "cvr_bias_all",
    "clicked": "cvr_bias_clicked",
    "not clicked": "cvr_bias_unclicked",
}


@dataclasses.dataclass(frozen=True)
class Folders:
    """Where each part of the chain leaves its files."""

    output: str
    log: str

    @property
    def data(self) -> str:
        """Records, vocabulary and report."""
        return os.path.join(self.output, "data")

    @property
    def export(self) -> str:
        """Versions for the server."""
        return os.path.join(self.output, "export")

    @property
    def rest_predictions(self) -> str:
        """Scores that came back over REST."""
        return os.path.join(self.output, "rest.csv")

    @property
    def model_report(self) -> str:
        """Page that sets the models side by side."""
        return os.path.join(self.output, "models.html")

    def model(self, model: str) -> str:
        """Checkpoints, eval.json and events of a model."""
        return os.path.join(self.output, "models", model)

    def predictions(self, model: str) -> str:
        """Batch scores of the test split."""
        return os.path.join(self.output, f"batch_{model}.csv")

    def judged(self, model: str) -> str:
        """Figures against the truth."""
        return os.path.join(self.output, f"judged_{model}.json")


def write_summary(folders: Folders, models: list[str], served: str) -> str:
    """Text of the page, which is also kept as summary.md in the output folder."""
    evaluated = {model: _read_json(os.path.join(folders.model(model), "eval.json")) for model in models}
    judged = {model: _read_json(folders.judged(model)) for model in models if os.path.exists(folders.judged(model))}
    parts = [
        "# What came out",
        _metrics(evaluated, judged),
        _parity(folders, served),
        _sizes_and_speeds(folders),
        _where_to_look(folders, models, served),
    ]
    text = "\n\n".join(parts)
    path = os.path.join(folders.output, "summary.md")
    storage.write(path, [text.encode(), b"\n"])
    return text


def _metrics(evaluated: dict[str, dict], judged: dict[str, dict]) -> str:
    titles = ["test split", *TASKS, *(("CVR AUC, all", *TRUTH) if judged else ())]
    rows = [
        [model]
        + [_with_error(figures.get(metric), *_classes(figures, metric)) for metric in TASKS.values()]
        + (_judged_cells(judged[model]) if judged else [])
        for model, figures in evaluated.items()
    ]
    if not judged:
        return f"## Quality\n\n{_table(titles, rows)}\n\n{_ERRORS}"
    truth = next(iter(judged.values()))
    oracles = [_number(truth[f"{m}_oracle"]) for m in TASKS.values()] + [_number(truth[f"{RANKING}_oracle"])]
    rows.append(["the truth itself", *oracles, *["+0.0 %"] * 3])
    return f"## Quality\n\n{_table(titles, rows)}\n\n{_ERRORS} {_OF_ALL}\n\n{_advice(judged)}"


def _judged_cells(figures: dict) -> list[str]:
    ranking = _with_error(figures[RANKING], *_would_convert(figures))
    return [ranking, *(_share(figures[metric]) for metric in TRUTH.values())]


def _would_convert(figures: dict) -> tuple[int, int]:
    return figures["would_convert"], figures["impressions"] - figures["would_convert"]


def _classes(figures: dict, metric: str) -> tuple[int, int]:
    """Positives and negatives of a task's evaluation."""
    deciles = figures["calibration"][metric.removesuffix("_auc")]
    positives = round(sum(decile["impressions"] * decile["mean_label"] for decile in deciles))
    return positives, round(sum(decile["impressions"] for decile in deciles)) - positives


def _advice(judged: dict[str, dict]) -> str:
    """Which of the models to take on such a log: the simplest, unless another ranks better by more than the error."""
    best = max(judged, key=lambda model: judged[model][RANKING])
    base = SIMPLEST if SIMPLEST in judged else next(iter(judged))
    gain = judged[best][RANKING] - judged[base][RANKING]
    error = standard_error(judged[base][RANKING], *_would_convert(judged[base])) or 0.0
    if gain <= error:
        return (
            f"Take {base}: no model ranks conversions over all impressions better by more than the error "
            f"({best} {gain:+.4f}). Other logs, other models: docs/which-model.md."
        )
    return (
        f"Take {best}: over all impressions it ranks conversions better than {base} by {gain:.4f} (one error: "
        f"{error:.4f}). Whether that holds for other seeds and logs: docs/which-model.md."
    )


def _parity(folders: Folders, served: str) -> str:
    batch, rest = _scores(folders.predictions(served)), _scores(folders.rest_predictions)
    if missing := rest.keys() - batch.keys():
        raise ValueError(f"{folders.rest_predictions}: {len(missing)} impressions that the batch did not score")
    worst = max(abs(a - b) for key, row in rest.items() for a, b in zip(row, batch[key], strict=True))
    return (
        "## Parity\n\n"
        f"{len(rest):,} impressions scored over REST from raw rows and in batch from records: "
        f"the largest difference of a score is {worst:.1e}."
    )


def _sizes_and_speeds(folders: Folders) -> str:
    raw = _bytes(folders.log, "s*_train.csv", "c*_train.csv", "s*_test.csv", "c*_test.csv")
    records = _bytes(folders.data, "train/*", "test/*")
    version = max(glob.glob(os.path.join(folders.export, "[0-9]*")), key=lambda path: int(os.path.basename(path)))
    rows = [
        ["raw log", f"{raw / 1e6:,.0f} MB"],
        ["records", f"{records / 1e6:,.1f} MB, {raw / records:.0f} times smaller"],
        ["vocabulary", f"{_bytes(folders.data, 'vocabulary/*') / 1e6:,.1f} MB"],
        ["served model", f"{_bytes(version, '**') / 1e6:,.1f} MB"],
    ]
    for title, cost in _costs(folders.output).items():
        rows.append([title, f"{cost['seconds']:.1f} s, {cost['peak_bytes'] / 1e9:.2f} GB at most"])
    return "## Sizes and times\n\n" + _table(["what", "how much"], rows)


def _where_to_look(folders: Folders, models: list[str], served: str) -> str:
    lines = [
        f"- the data: open {folders.data}/report/report.html",
        f"- the models side by side: open {folders.model_report}",
        *(f"- {model}: {folders.model(model)}/eval.json and the pictures beside it" for model in models),
        f"- learning curves: tensorboard --logdir={folders.output}/models",
        f"- try the served model in a browser: python -m serving --model_base_path={folders.export} "
        f"--model_name={served} --rest_api_port=8501, then http://127.0.0.1:8501/try",
        f"- this page: {folders.output}/summary.md",
    ]
    return "## Where to look\n\n" + "\n".join(lines)


def _costs(output: str) -> dict[str, dict[str, Any]]:
    """What each step took, in the order in which they ran."""
    marks = sorted(glob.glob(os.path.join(output, "steps", "*.json")), key=os.path.getmtime)
    return {os.path.basename(mark).removesuffix(".json").replace("_", " "): _read_json(mark) for mark in marks}


def _scores(path: str) -> dict[str, tuple[float, ...]]:
    with open(path, encoding="utf-8", newline="") as file:
        return {row["sample_id"]: tuple(float(row[score]) for score in SCORES) for row in csv.DictReader(file)}


def _bytes(folder: str, *patterns: str) -> int:
    found = {path for pattern in patterns for path in glob.glob(os.path.join(folder, pattern), recursive=True)}
    return sum(os.path.getsize(path) for path in found if os.path.isfile(path))


def _read_json(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _number(value: float | None) -> str:
    return "absent" if value is None else f"{value:.4f}"


def _with_error(auc: float | None, positives: int, negatives: int) -> str:
    error = standard_error(auc, positives, negatives)
    return _number(auc) + ("" if error is None else f" ± {error:.4f}")


def _share(value: float | None) -> str:
    return "absent" if value is None else f"{100 * value:+.1f} %"


def _table(titles: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in [titles, *rows]) for i in range(len(titles))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in [titles, *rows]
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])
