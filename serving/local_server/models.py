"""The versions in memory: found on disk by polling, the new one loaded before the old one is dropped."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf
from absl import logging

from serving.local_server.metrics import Metrics
from serving.local_server.model_config import ConfigError, ModelConfig
from serving.local_server.servable import Servable
from serving.local_server.status import Code, ServingError, invalid_argument, not_found

AVAILABLE = "AVAILABLE"
LOADING = "LOADING"
END = "END"

MAX_VERSION = (1 << 63) - 1
SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")

Loader = Callable[[str, int, str], Servable]


@dataclasses.dataclass
class VersionState:
    """What became of a version: its state, and for one that could not be loaded why.

    `stamp` tells whether the folder has changed since: a broken version is tried again only then.
    """

    state: str
    code: Code = Code.OK
    message: str = ""
    stamp: tuple[tuple[str, int, int], ...] = ()


class _Loaded:
    """A servable, and how many calls are in it."""

    def __init__(self, servable: Servable) -> None:
        self.servable = servable
        self.users = 0


class Models:
    """All models and their versions. Calls may come from any thread while `poll` runs in one."""

    def __init__(self, configs: Sequence[ModelConfig], metrics: Metrics, load: Loader = Servable) -> None:
        self._configs = {config.name: config for config in configs}
        self._metrics = metrics
        self._load = load
        self._lock = threading.Lock()
        self._loaded: dict[str, dict[int, _Loaded]] = {config.name: {} for config in configs}
        self._states: dict[str, dict[int, VersionState]] = {config.name: {} for config in configs}
        # No longer served, but perhaps still in use.
        self._retired: list[_Loaded] = []
        self._stop = threading.Event()

    @property
    def names(self) -> list[str]:
        """Names of the models."""
        return list(self._configs)

    @contextlib.contextmanager
    def use(self, name: str, version: int | None = None, label: str | None = None) -> Iterator[Servable]:
        """A version that stays in memory until the block is left: the newest, or the one named by number or label.

        Raises:
            ServingError: no such model, version or label.
        """
        with self._lock:
            loaded = self._find(name, version, label)
            loaded.users += 1
        try:
            yield loaded.servable
        finally:
            with self._lock:
                loaded.users -= 1

    def statuses(self, name: str, version: int | None = None) -> dict[int, VersionState]:
        """State of each version of a model, the newest first, or of one. Raises ServingError where there is none."""
        with self._lock:
            states = dict(sorted(self._states.get(name, {}).items(), reverse=True))
        if version is not None:
            if version not in states:
                raise not_found(f"Could not find version {version} of model {name}")
            return {version: states[version]}
        if not states:
            raise not_found(f"Could not find any versions of model {name}")
        return states

    def poll(self) -> None:
        """Looks at the folders once: loads what is new, then drops what is no longer to be served."""
        for config in self._configs.values():
            try:
                self._refresh(config)
            except OSError as error:  # noqa: PERF203
                # Storage may be away for a while; what is loaded goes on.
                logging.error("Model %s: %s", config.name, error)
        self._close_unused()

    def poll_every(self, seconds: float) -> None:
        """Polls until `stop`."""
        while not self._stop.wait(seconds):
            self.poll()

    def stop(self) -> None:
        """Ends `poll_every`."""
        self._stop.set()

    def _find(self, name: str, version: int | None, label: str | None) -> _Loaded:
        versions = self._loaded.get(name, {})
        if label is not None and versions:
            if label not in self._configs[name].labels:
                raise invalid_argument(f"Unrecognized servable version label: {label}")
            version = self._configs[name].labels[label]
        if version is None:
            if not versions:
                raise not_found(f"Servable not found for request: Latest({name})")
            version = max(versions)
        if version not in versions:
            raise not_found(f"Servable not found for request: Specific({name}, {version})")
        return versions[version]

    def _refresh(self, config: ModelConfig) -> None:
        paths = versions_on_disk(config.base_path)
        wanted = config.policy.chosen(paths)
        for version in wanted:
            if version not in self._loaded[config.name]:
                self._try_to_load(config, version, paths[version])
        loaded = self._loaded[config.name]
        # The old versions answer until all the new ones can.
        if wanted and all(version in loaded for version in wanted):
            for version in loaded.keys() - set(wanted):
                self._drop(config.name, version)

    def _try_to_load(self, config: ModelConfig, version: int, path: str) -> None:
        stamp = folder_stamp(path)
        states = self._states[config.name]
        if version in states and states[version].stamp == stamp:
            return
        self._set_state(config.name, version, VersionState(LOADING))
        logging.info("Model %s: loading version %d", config.name, version)
        start = time.monotonic()
        try:
            servable = self._load(config.name, version, path)
        except Exception as error:  # a broken folder raises anything, and must not stop what is served
            code = error.code if isinstance(error, ServingError) else _code(error)
            self._set_state(config.name, version, VersionState(END, code, str(error), stamp))
            self._metrics.count_load(path, code, time.monotonic() - start)
            logging.error("Model %s: version %d cannot be loaded: %s", config.name, version, error)
            return
        self._metrics.count_load(path, Code.OK, time.monotonic() - start)
        with self._lock:
            self._loaded[config.name] = {**self._loaded[config.name], version: _Loaded(servable)}
            states[version] = VersionState(AVAILABLE)
        logging.info("Model %s: version %d is served, %d warm-up calls", config.name, version, servable.warmup_calls)

    def _drop(self, name: str, version: int) -> None:
        with self._lock:
            loaded = self._loaded[name][version]
            self._loaded[name] = {key: value for key, value in self._loaded[name].items() if key != version}
            self._states[name][version] = VersionState(END)
            self._retired.append(loaded)
        logging.info("Model %s: version %d is no longer served", name, version)

    def _close_unused(self) -> None:
        """Closes what is retired. Here and not by its last user, whose caller would wait for half a second."""
        with self._lock:
            unused = [loaded for loaded in self._retired if not loaded.users]
            self._retired = [loaded for loaded in self._retired if loaded.users]
        for loaded in unused:
            loaded.servable.close()
        if unused:
            # What else refers to itself in a circle would stay until the next collection, which may be far away.
            gc.collect()

    def _set_state(self, name: str, version: int, state: VersionState) -> None:
        with self._lock:
            self._states[name][version] = state


def require_base_path(config: ModelConfig) -> None:
    """Says that a model has no version yet. Raises ConfigError where its folder is none, or is a version itself."""
    path = config.base_path
    if not os.path.isdir(path):
        raise ConfigError(f"model {config.name}: no folder {path}; export a model to it first")
    if holds_saved_model(path):
        parent = os.path.dirname(os.path.abspath(path))
        raise ConfigError(f"model {config.name}: {path} is a version; give the folder of versions, {parent}")
    if not versions_on_disk(path):
        logging.warning("model %s: %s has no version yet (a folder whose name is a number)", config.name, path)


def versions_on_disk(base_path: str) -> dict[int, str]:
    """Folders that hold a SavedModel, by version number, which may have leading zeros.

    One still being written has none. As in TensorFlow Serving, a name that is no number of 64 bits is no version.
    """
    found = {}
    for entry in sorted(os.scandir(base_path), key=lambda entry: entry.name):
        if not (entry.name.isascii() and entry.name.isdigit()) or int(entry.name) > MAX_VERSION:
            continue
        if holds_saved_model(entry.path):
            found[int(entry.name)] = entry.path
    return found


def holds_saved_model(path: str) -> bool:
    """Whether a folder is a version."""
    return any(os.path.exists(os.path.join(path, file)) for file in SAVED_MODEL_FILES)


def folder_stamp(path: str) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of all files below a folder: changes with any of them."""
    found = []
    for folder, _, files in os.walk(path):
        for file in files:
            place = os.path.join(folder, file)
            with contextlib.suppress(FileNotFoundError):  # being replaced; the next poll sees it
                status = os.stat(place)
                found.append((place, status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))


def _code(error: Exception) -> Code:
    return Code(error.error_code) if isinstance(error, tf.errors.OpError) else Code.UNKNOWN
