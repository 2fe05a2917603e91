"""The task, where the library that searches is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from model_fn.hyperparameters import Hyperparameters
from trainer.options import Options


def tune(options: Options, settings: Hyperparameters, flags: Sequence[str]) -> str:
    """As `tuning.tune`.

    Raises:
        ValueError: Optuna is not installed; or what that raises.
    """
    if importlib.util.find_spec("optuna") is None:
        raise ValueError("--task_type=tune needs Optuna, which is not installed: pip install 'entire-space[tune]'")
    from trainer.tuning import tuning

    return tuning.tune(options, settings, flags)
