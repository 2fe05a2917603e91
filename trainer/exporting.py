"""--task_type=export."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import storage
from features import names
from serving.export import export_saved_model, remove_unfinished
from storage import lock, ownership, process
from trainer import calibration_file, data_dir, model_dir, saving
from trainer.options import Options
from trainer.terminal import say

_COMMAND = "python -m trainer --task_type=export"


def export(options: Options, given: Mapping[str, Any]) -> str:
    """Writes a checkpoint of model_dir as a new version of a served model.

    Args:
        options: of the run.
        given: the settings that the command names; they must be the model's.

    Returns:
        Path of the version's folder.

    Raises:
        ValueError: settings, data or checkpoint cannot be used; the message names them.
    """
    data = data_dir.load(options.data_dir)
    storage.refuse_overlap({"export_dir": options.export_dir}, {"data_dir": options.data_dir})
    settings = model_dir.trained_hyperparameters(options.model_dir, given, data)
    checkpoint = model_dir.checkpoint(options.model_dir, options.checkpoint)
    saving.refuse_broken(checkpoint)
    folder = names.vocabulary_dir(data.path)
    with _claimed(options.export_dir):
        maps = calibration_file.maps_of(options.model_dir, checkpoint) if options.calibrated else None
        made = export_saved_model(options.export_dir, checkpoint, folder, settings, options.export_options(), maps)
    say(f"exported {made}")
    return made


@contextlib.contextmanager
def _claimed(export_dir: str) -> Iterator[None]:
    """The folder for this run alone, without what killed exports have left there."""
    _refuse_foreign(export_dir)
    with lock.held(export_dir, _COMMAND, "export_dir"):
        _claim(export_dir)
        remove_unfinished(export_dir)
        yield


def _refuse_foreign(export_dir: str) -> None:
    """Refuses a folder of other files; one of versions alone is as good as one with the mark."""
    others = [name for name in storage.names_in(export_dir) if not name.isdigit() and not name.startswith("temp-")]
    if set(others) - {lock.LOCK_FILE}:
        ownership.refuse_foreign(export_dir, _COMMAND, "export_dir")


def _claim(export_dir: str) -> None:
    _refuse_foreign(export_dir)
    if ownership.maker(export_dir) is None:
        ownership.mark(export_dir, process.this(_COMMAND))
    for name in storage.names_in(export_dir):
        if storage.unfinished_of(name) in (ownership.MARK_FILE, lock.LOCK_FILE):
            storage.remove(storage.join(export_dir, name))
