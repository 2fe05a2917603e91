"""The search: asks Optuna for settings, trains with them, tells it what came out, until --trials are done.

Optuna's journal in model_dir is the search's memory: a trial that was cut short goes on in its own folder from its
checkpoint, and a higher --trials adds to those that are there.
"""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

import storage
from model_fn.hyperparameters import Hyperparameters
from storage import contents, lock, ownership
from storage.process import cores
from trainer import data_dir, signals
from trainer.model_dir import write_whole
from trainer.options import Options, comparable_metrics
from trainer.terminal import StoppedError, say
from trainer.tuning import search_report, space
from trainer.tuning.trial_process import TrialProcess

COMMAND = "python -m trainer --task_type=tune"
_JOURNAL_FILE = "search.journal"
_SPACE_FILE = "search.json"
_STUDY = "search"
_POLL_SECONDS = 0.5
# Trials from which a search that has none to show for them is given up.
_FUTILE = 3
# Trials before the first one may be cut short for being worse than half of the others at the same step.
_TRIALS_BEFORE_PRUNING = 5


def tune(options: Options, settings: Hyperparameters, flags: Sequence[str]) -> str:
    """Trains until --trials models are there, and writes the report about them.

    Args:
        options: of the run; model_dir gets the trials, each in a folder of its own.
        settings: of the models, where the search does not choose them.
        flags: that every training is given.

    Returns:
        Path of the report.

    Raises:
        ValueError: flags, data or the file of the search cannot be used; or no trial came to an end.
        terminal.StoppedError: a signal ended the run.
    """
    storage.refuse_overlap({"model_dir": options.model_dir}, {"data_dir": options.data_dir})
    chosen = space.read(options.search)
    _refuse_given(chosen, options.search, flags)
    space.check(chosen, options.search, settings)
    _refuse_without_evaluations(options)
    with signals.noticed() as request, lock.held(options.model_dir, COMMAND, "model_dir"):
        ownership.claim(options.model_dir, COMMAND, "model_dir")
        _keep_space(options, chosen)
        study = _study(options)
        _Search(options, chosen, flags, request, study).run()
        return search_report.write(options, study, chosen)


def _refuse_given(chosen: space.Space, path: str, flags: Sequence[str]) -> None:
    given = {flag.removeprefix("--").partition("=")[0] for flag in flags}
    if twice := sorted(given & chosen.keys()):
        raise space.SearchError(f"--search={path}: {', '.join(twice)}: given as a flag as well; leave one of them out")


def _refuse_without_evaluations(options: Options) -> None:
    data = data_dir.load(options.data_dir)
    if not any(data.has(split) for split in options.evaluated_splits):
        raise ValueError(
            f"--eval_splits={options.eval_splits}: {options.data_dir} has no records of it, and trials are compared by "
            "their evaluations; name a split that is there"
        )


def _keep_space(options: Options, chosen: space.Space) -> None:
    """Notes what is searched and by what; another run of the folder must search the same."""
    found = {
        "metric": options.metric,
        "data_dir": os.path.abspath(options.data_dir),
        "search": {name: optuna.distributions.distribution_to_json(one) for name, one in sorted(chosen.items())},
    }
    path = storage.join(options.model_dir, _SPACE_FILE)
    if not storage.exists(path):
        write_whole(path, json.dumps(found, indent=1) + "\n")
        return
    before = contents.object_of(path, "name another folder")
    if differing := [name for name, value in found.items() if before.get(name) != value]:
        raise ValueError(
            f"--model_dir={options.model_dir}: its trials were made with another {', '.join(differing)} ({path}), and "
            "cannot be compared; name another folder"
        )


class _Search:
    """A study and the processes of its trials."""

    def __init__(
        self,
        options: Options,
        chosen: space.Space,
        flags: Sequence[str],
        request: signals.Request,
        study: optuna.Study,
    ) -> None:
        self._options, self._space, self._request = options, chosen, request
        # Threads are those of the machine unless said: several trainings share them.
        threads = max(1, cores() // options.tune_processes)
        self._flags = [*([] if options.num_threads else [f"--num_threads={threads}"]), *flags]
        self._study = study
        self._running: dict[int, TrialProcess] = {}
        # Those that this run has asked for; one that goes on from an earlier run is left to end by itself.
        self._asked: dict[int, Trial] = {}
        self._reported: dict[int, set[int]] = {}

    def _ended(self) -> list[FrozenTrial]:
        return [trial for trial in self._study.get_trials(deepcopy=False) if trial.state.is_finished()]

    def run(self) -> None:
        """Starts trials and waits for them until enough are done, or a signal comes."""
        waiting = [trial for trial in self._study.get_trials(deepcopy=False) if trial.state == TrialState.RUNNING]
        while True:
            # First: a Ctrl-C reaches the trainings as well, and one that ends of it has not failed.
            if self._request.signal:
                self._stop()
            self._look_after_the_running()
            self._refuse_futile()
            while len(self._running) < self._options.tune_processes and (waiting or self._wants_more()):
                self._start(waiting.pop(0) if waiting else self._ask())
            if not self._running:
                return
            time.sleep(_POLL_SECONDS)

    def _wants_more(self) -> bool:
        return len(self._study.get_trials(deepcopy=False)) < self._options.trials

    def _ask(self) -> Trial:
        trial = self._study.ask(self._space)
        self._asked[trial.number] = trial
        return trial

    def _start(self, trial: Trial | FrozenTrial) -> None:
        folder = search_report.folder_of(self._options.model_dir, trial.number)
        self._running[trial.number] = TrialProcess(folder, self._flags, trial.params)
        say(f"trial {trial.number}: " + "  ".join(f"{name} {_text(value)}" for name, value in trial.params.items()))

    def _look_after_the_running(self) -> None:
        for number, process in list(self._running.items()):
            status = process.status()
            if status is not None:
                del self._running[number]
                self._tell(number, process, status)
            else:
                self._cut_short_if_hopeless(number, process)

    def _tell(self, number: int, process: TrialProcess, status: int) -> None:
        metric = self._options.metric
        found = process.evaluated()
        value = found[-1].value(metric) if found else math.nan
        if status == 0 and math.isfinite(value):
            self._study.tell(number, value)
            say(f"trial {number}: {metric} {value:.4f}; best {self._best()}")
            return
        self._study.tell(number, state=TrialState.FAIL)
        why = process.last_words() if status else f"its evaluation has no {metric}"
        say(f"trial {number}: failed: {why}")

    def _best(self) -> str:
        best = self._study.best_trial
        return f"{best.value:.4f} of trial {best.number}"

    def _cut_short_if_hopeless(self, number: int, process: TrialProcess) -> None:
        trial = self._asked.get(number)
        if trial is None:
            return
        values = {one.step: one.value(self._options.metric) for one in process.evaluated()}
        known = {step: value for step, value in values.items() if math.isfinite(value)}
        for step in sorted(known.keys() - self._reported.setdefault(number, set())):
            trial.report(known[step], step)
            self._reported[number].add(step)
        if known and trial.should_prune():
            process.stop()
            process.wait()
            del self._running[number]
            self._study.tell(number, known[max(known)], state=TrialState.PRUNED)
            say(f"trial {number}: cut short at step {max(known):,}, worse than most others there")

    def _stop(self) -> None:
        for process in self._running.values():
            process.stop()
        for process in self._running.values():
            process.wait()
        done = len(self._ended())
        raise StoppedError(
            f"stopped; {done} trials are done, the same command goes on with the others", self._request.signal
        )

    def _refuse_futile(self) -> None:
        ended = self._ended()
        if len(ended) >= _FUTILE and all(trial.state == TrialState.FAIL for trial in ended) and not self._running:
            raise ValueError(
                f"none of {len(ended)} trials came to an end; see {self._options.model_dir}/trial-*.log, and start a "
                "new search in another folder"
            )


def _study(options: Options) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        # Of parts that Optuna calls experimental; setup.py bounds its version.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(os.path.join(options.model_dir, _JOURNAL_FILE))),
            study_name=_STUDY,
            load_if_exists=True,
            direction="maximize" if comparable_metrics()[options.metric] else "minimize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_TRIALS_BEFORE_PRUNING),
        )
        # A run that goes on must not draw what the one before it has drawn. A trial that is running counts as a bad
        # one, so that those beside it look elsewhere.
        seed = options.seed + len(study.get_trials(deepcopy=False))
        study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=options.tune_processes > 1)
    return study


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
