"""Exports during training: the best model so far, and the last one."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import storage
from serving.saved_model_files import CheckError
from storage import contents
from trainer import saving
from trainer.options import comparable_metrics
from trainer.terminal import say


class VersionExporter:
    """Writes versions of the served model to a folder, and notes in its NAME.json which it wrote last, and of what.

    Args:
        folder: MODEL_DIR/export/NAME.
        make: exports a checkpoint into a folder and gives the path of the version.
        keeps_one: whether a version goes when the next one is there.
    """

    def __init__(self, folder: str, make: Callable[[str, str], str], keeps_one: bool) -> None:
        self._folder = folder
        self._note = storage.join(folder, f"{os.path.basename(folder)}.json")
        self._make = make
        self._keeps_one = keeps_one

    def export(self, checkpoint: str, facts: Mapping[str, Any]) -> None:
        """Exports a checkpoint, unless the last version is of the same facts."""
        noted = self._noted()
        # A version's folder by its name: the whole model_dir may have been moved or copied.
        old = os.path.basename(str(noted.pop("version", "")))
        if old and noted == dict(facts) and self._has(old):
            return
        saving.refuse_broken(checkpoint)
        try:
            made = self._make(self._folder, checkpoint)
        except CheckError as error:
            if not self._keeps_one:
                raise
            # Training is worth more than one of its exports; the last one ends the run where it fails.
            say(f"not exported: {error}")
            return
        say(f"exported {made}")
        version = os.path.basename(made)
        storage.write(self._note, [json.dumps({**facts, "version": version}).encode() + b"\n"])
        if self._keeps_one and old.isdigit() and old != version and self._has(old):
            storage.remove(storage.join(self._folder, old))

    def _noted(self) -> dict[str, Any]:
        return contents.object_of(self._note, "delete it, and the next export counts as the best")

    def _has(self, version: str) -> bool:
        return version in {name.rstrip("/") for name in storage.names_in(self._folder)}


def is_better(metric: str, value: float, best: float) -> bool:
    """Whether a value is better than the best one before, NaN being "absent"; any value is better than none."""
    if math.isnan(value) or math.isnan(best):
        return not math.isnan(value)
    return value > best if comparable_metrics()[metric] else value < best
