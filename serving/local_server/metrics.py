"""Counts and times of calls, under the names that TensorFlow Serving has for them, in Prometheus' text format.

The official client library cannot write them: it gives every counter the suffix _total, and TensorFlow Serving's have
none. Dashboards and alerts made for one server work with the other.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterator

from serving.local_server.status import Code

CONTENT_TYPE = "text/plain; version=0.0.4"

REQUEST_COUNT = ":tensorflow:serving:request_count"
REQUEST_LATENCY = ":tensorflow:serving:request_latency"
RUNTIME_LATENCY = ":tensorflow:serving:runtime_latency"
LOAD_COUNT = ":tensorflow:cc:saved_model:load_attempt_count"
LOAD_LATENCY = ":tensorflow:cc:saved_model:load_latency"

# Microseconds: 10 to 20 minutes, each 1.8 times the one before.
_BOUNDS = [10 * 1.8**power for power in range(33)]

Labels = tuple[tuple[str, str], ...]


class _Histogram:
    def __init__(self) -> None:
        self.buckets = [0] * (len(_BOUNDS) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.buckets[bisect.bisect_right(_BOUNDS, value)] += 1
        self.sum += value


class Metrics:
    """All counters and histograms of a server. Any thread may count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, dict[Labels, int]] = {}
        self._histograms: dict[str, dict[Labels, _Histogram]] = {}

    def count_request(self, model: str, api: str, code: Code, seconds: float) -> None:
        """Counts a call by what became of it; of an answered one the time from its headers to the answer as well."""
        self._count(REQUEST_COUNT, (("model_name", model), ("status", code.name)), 1)
        if code == Code.OK:
            labels = (("model_name", model), ("API", api), ("entrypoint", "REST"))
            self._observe(REQUEST_LATENCY, labels, seconds)

    def count_run(self, model: str, api: str, seconds: float) -> None:
        """Counts the time that a call spent in the graph."""
        self._observe(RUNTIME_LATENCY, (("model_name", model), ("API", api), ("runtime", "TF1")), seconds)

    def count_load(self, path: str, code: Code, seconds: float) -> None:
        """Counts an attempt to load a version, its warm-up included."""
        status = "success" if code == Code.OK else "fail"
        self._count(LOAD_COUNT, (("model_path", path), ("status", status)), 1)
        self._count(LOAD_LATENCY, (("model_path", path),), round(seconds * 1e6))

    def text(self) -> str:
        """All of them in Prometheus' text format."""
        with self._lock:
            return "\n".join([*self._counter_lines(), *self._histogram_lines(), ""])

    def _count(self, name: str, labels: Labels, amount: int) -> None:
        with self._lock:
            cells = self._counters.setdefault(name, {})
            cells[labels] = cells.get(labels, 0) + amount

    def _observe(self, name: str, labels: Labels, seconds: float) -> None:
        with self._lock:
            self._histograms.setdefault(name, {}).setdefault(labels, _Histogram()).add(seconds * 1e6)

    def _counter_lines(self) -> Iterator[str]:
        for name, cells in self._counters.items():
            yield f"# TYPE {name} counter"
            for labels, value in cells.items():
                yield f"{name}{_label_text(labels)} {value}"

    def _histogram_lines(self) -> Iterator[str]:
        for name, cells in self._histograms.items():
            yield f"# TYPE {name} histogram"
            for labels, histogram in cells.items():
                total = 0
                for bound, count in zip([*map(str, _BOUNDS), "+Inf"], histogram.buckets, strict=True):
                    total += count
                    yield f"{name}_bucket{_label_text((*labels, ('le', bound)))} {total}"
                yield f"{name}_sum{_label_text(labels)} {histogram.sum}"
                yield f"{name}_count{_label_text(labels)} {total}"


def _label_text(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
