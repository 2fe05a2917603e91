"""importance.json of a model_dir: what the model loses where a field's values have changed places."""

from __future__ import annotations

import dataclasses
import json

import storage
from storage import contents
from trainer.model_dir import write_whole

IMPORTANCE_FILE = "importance.json"
OVER_ALL = "over_all"
WITHIN_REQUESTS = "within_requests"
SCOPES = (OVER_ALL, WITHIN_REQUESTS)


@dataclasses.dataclass(frozen=True)
class Loss:
    """What a task loses: AUC, and log loss that is added; None where the data do not tell."""

    auc: float | None
    log_loss: float | None


@dataclasses.dataclass(frozen=True)
class FieldLoss:
    """A field and what its shuffling costs: by scope, by task. A context field has no loss within requests."""

    name: str
    losses: dict[str, dict[str, Loss]]

    @property
    def largest(self) -> float:
        """The largest AUC that any task loses over all impressions."""
        return max((loss.auc for loss in self.losses[OVER_ALL].values() if loss.auc is not None), default=0.0)


@dataclasses.dataclass(frozen=True)
class Importance:
    """What `--task_type=importance` found.

    Attributes:
        global_step: of the model.
        split: that was scored.
        impressions: scored, each once for each shuffle; of a log with weights their sum.
        fields: of the schema.
    """

    global_step: int
    split: str
    impressions: int
    fields: list[FieldLoss]

    def ranked(self) -> list[FieldLoss]:
        """The fields, the one that costs most first."""
        return sorted(self.fields, key=lambda field: -field.largest)


def write(folder: str, found: Importance) -> str:
    """Writes the file into a model_dir and gives its path."""
    path = storage.join(folder, IMPORTANCE_FILE)
    write_whole(path, json.dumps(dataclasses.asdict(found), indent=1) + "\n")
    return path


def read(folder: str) -> Importance | None:
    """What a model_dir keeps; None: nothing.

    Raises:
        contents.ContentsError: the file is damaged.
    """
    path = storage.join(folder, IMPORTANCE_FILE)
    if not storage.exists(path):
        return None
    with contents.taken_apart(path, "run --task_type=importance again"):
        found = contents.read_object(path)
        return Importance(**found | {"fields": [_field(**field) for field in found["fields"]]})


def _field(name: str, losses: dict[str, dict[str, dict]]) -> FieldLoss:
    return FieldLoss(
        name, {scope: {task: Loss(**loss) for task, loss in tasks.items()} for scope, tasks in losses.items()}
    )
