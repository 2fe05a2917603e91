"""What a daily run shall do: one frozen dataclass, made of flags by `__main__`."""

from __future__ import annotations

import dataclasses
import datetime
import re

# What a gate may compare: of each task, over all impressions and within each user.
GATE_METRICS = tuple(f"{task}_{kind}" for kind in ("auc", "gauc") for task in ("ctr", "cvr", "ctcvr"))
# Flags of the steps that name what a day starts from and where its parts lie.
_OWN = {
    "preprocess_flags": ("input_dir", "output_dir", "previous_vocabulary", "elapsed_days"),
    "train_flags": ("task_type", "data_dir", "model_dir", "continue_from"),
    "export_flags": ("task_type", "data_dir", "model_dir", "export_dir"),
}
_RANGE = re.compile(r"(\d{4}-\d\d-\d\d)?\.\.(\d{4}-\d\d-\d\d)?")


@dataclasses.dataclass(frozen=True)
class Options:
    """Settings of a run; each is the flag of the same name.

    Attributes:
        log_root: holds a folder of raw log for each day, named YYYY-MM-DD.
        output_root: gets the days' data and models and what is served.
        days: FIRST..LAST, either may be left out; empty: every day that is there.
        keep: days whose data and models stay, and versions that stay served.
        preprocess_flags: for python -m preprocess, as on a command line.
        train_flags: for python -m trainer --task_type=train.
        export_flags: for python -m trainer --task_type=export.
        max_regression: by how much an AUC may be lower than yesterday's model's on the same rows.
        gate_metrics: the AUCs that are compared.
        calibration: lowest and highest ratio of predicted to observed clicks, and of conversions.
        dry_run: print the commands instead.
    """

    log_root: str
    output_root: str
    days: str = ""
    keep: int = 3
    preprocess_flags: tuple[str, ...] = ()
    train_flags: tuple[str, ...] = ()
    export_flags: tuple[str, ...] = ()
    max_regression: float = 0.01
    gate_metrics: tuple[str, ...] = ("ctr_auc", "ctcvr_auc")
    calibration: tuple[float, float] = (0.7, 1.4)
    dry_run: bool = False

    def __post_init__(self) -> None:
        for name in ("log_root", "output_root"):
            self._demand(name, bool(getattr(self, name)), "a folder")
        self._demand("keep", self.keep >= 1, "1 or more")
        self._demand("max_regression", self.max_regression >= 0, "0 or more")
        self._demand("gate_metrics", set(self.gate_metrics) <= set(GATE_METRICS), "some of " + ", ".join(GATE_METRICS))
        for name, own in _OWN.items():
            self._refuse_own(name, own)
        low, high = self.calibration
        self._demand("calibration", 0 <= low < high, "LOW,HIGH with 0 <= LOW < HIGH")
        self._demand("days", not self.days or bool(_RANGE.fullmatch(self.days)), "FIRST..LAST with dates YYYY-MM-DD")
        self._demand("days", all(map(_is_date, filter(None, self.bounds))), "FIRST..LAST with dates that there are")

        first, last = self.bounds
        self._demand("days", not first or not last or first <= last, "FIRST..LAST, the earlier day first")

    def _refuse_own(self, name: str, own: tuple[str, ...]) -> None:
        for word in getattr(self, name):
            flag = word.lstrip("-").split("=")[0]
            if flag in own:
                raise ValueError(f"--{name}={word}: the daily run sets --{flag} itself; leave it out")

    def _demand(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            value = getattr(self, name)
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
            raise ValueError(f"--{name}={shown}: allowed is {allowed}")

    @property
    def bounds(self) -> tuple[str, str]:
        """First and last day; empty: open."""
        found = _RANGE.fullmatch(self.days)
        return (found[1] or "", found[2] or "") if found else ("", "")


def _is_date(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True
