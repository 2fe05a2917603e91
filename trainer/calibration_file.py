"""calibration.json of a model_dir: the maps behind a model's logits, of which checkpoint, and what they are worth."""

from __future__ import annotations

import dataclasses
import json

import storage
from model_fn.calibration import Calibration
from storage import contents
from trainer import evaluating
from trainer.model_dir import write_whole
from trainer.terminal import say

CALIBRATION_FILE = "calibration.json"

# By task, metrics by name.
Metrics = dict[str, dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Kept:
    """What `--task_type=calibrate` found.

    Attributes:
        global_step: of the checkpoint whose logits are mapped.
        split: that they were fitted on.
        method: of the fit.
        impressions: of the split.
        before: metrics of the model as it is.
        after: the same behind maps that were fitted on the other half of the split.
        maps: fitted on the whole split.
    """

    global_step: int
    split: str
    method: str
    impressions: int
    before: Metrics
    after: Metrics
    maps: Calibration


def write(folder: str, kept: Kept) -> str:
    """Writes the file into a model_dir and gives its path."""
    path = storage.join(folder, CALIBRATION_FILE)
    write_whole(path, json.dumps(dataclasses.asdict(kept), indent=1) + "\n")
    return path


def read(folder: str) -> Kept | None:
    """What a model_dir keeps; None: nothing.

    Raises:
        contents.ContentsError: the file is damaged.
    """
    path = storage.join(folder, CALIBRATION_FILE)
    if not storage.exists(path):
        return None
    with contents.taken_apart(path, "run --task_type=calibrate again"):
        found = contents.read_object(path)
        return Kept(**found | {"global_step": int(found["global_step"]), "maps": Calibration.from_dict(found["maps"])})


def maps_of(folder: str, checkpoint: str) -> Calibration | None:
    """The maps that belong to a checkpoint; None where there are none. Says what is done.

    Raises:
        ValueError: the file is damaged.
    """
    kept = read(folder)
    if kept is None:
        return None
    step = evaluating.step_of(checkpoint)
    if step != kept.global_step:
        say(
            f"not calibrated: {CALIBRATION_FILE} is of step {kept.global_step:,} and this checkpoint of step {step:,}; "
            "run --task_type=calibrate again"
        )
        return None
    say(f"calibrated by {CALIBRATION_FILE} ({kept.method}, fitted on the split {kept.split})")
    return kept.maps
