"""The page on which a loaded model can be tried in a browser, and what it shows of the models."""

from __future__ import annotations

import importlib.resources
import math
from typing import Any

import numpy as np

from serving import warm_up
from serving.local_server.models import Models
from serving.local_server.servable import Servable
from serving.local_server.status import ServingError
from serving.saved_model_files import SHARED_CONTEXT

PAGE_FILE = "try_page.html"

# A page is for looking at some candidates; more would only make it slow.
MAX_CANDIDATES = 50


class TryPage:
    """Static page and the models that it fills its form with."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def html(self) -> bytes:
        """The page."""
        return (importlib.resources.files("serving.local_server") / PAGE_FILE).read_bytes()

    def models(self) -> list[dict[str, Any]]:
        """For each model that can be called: name, version, inputs with type and rank, and a request to begin with."""
        found = []
        for name in self._models.names:
            try:
                with self._models.use(name) as servable:
                    found.append(_description(servable))
            except ServingError:  # noqa: PERF203 nothing of it is loaded yet
                continue
        return found


def _description(servable: Servable) -> dict[str, Any]:
    signature = servable.signatures.get(SHARED_CONTEXT)
    inputs = signature.inputs if signature else {}
    ranks = signature.ranks if signature else {}
    return {
        "name": servable.name,
        "version": str(servable.version),
        "inputs": [{"name": key, "dtype": inputs[key], "rank": ranks[key]} for key in inputs],
        "request": sample_inputs(servable.path) if signature else None,
    }


def sample_inputs(path: str) -> dict[str, Any] | None:
    """`inputs` of the first warm-up call of the default signature, cut to some candidates; None without one."""
    for call in warm_up.calls(path):
        if warm_up.is_columnar(call):
            return {
                name: _json_value((array[:MAX_CANDIDATES] if array.ndim > 1 else array).tolist())
                for name, array in call.inputs.items()
            }
    return None


def _json_value(value: Any) -> Any:
    """Value for the form. Ids become texts, which a browser does not round; NaN, a padding, becomes null."""
    if isinstance(value, list):
        return [_json_value(element) for element in value]
    if isinstance(value, float):
        # The shortest text of the 32-bit number, not the digits that it has as a double.
        return None if math.isnan(value) else float(str(np.float32(value)))
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
