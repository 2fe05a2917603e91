"""A loaded version of a model: its signatures, run by name, and the warm-up that came with it."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from serving import warm_up
from serving.local_server import loading
from serving.local_server.json_document import ENCODING
from serving.local_server.status import Code, ServingError, invalid_argument
from serving.saved_model_files import SHARED_CONTEXT, WARM_UP_FILE

EXAMPLES_INPUT = "inputs"
EXAMPLES_OUTPUTS = {"classify": ("classes", "scores"), "regress": ("outputs",)}

# TensorFlow Serving's words for types whose NumPy name is another.
_DTYPE_NAMES = {"float16": "half", "float32": "float", "float64": "double"}


@dataclasses.dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a signature.

    Attributes:
        inputs: dtype of each input.
        ranks: number of dimensions of each input; -1 where it may have any.
        outputs: names of the outputs.
    """

    inputs: dict[str, str]
    ranks: dict[str, int]
    outputs: tuple[str, ...]


class Servable:
    """A version in memory. Several threads may run it at a time; `close` only when none does."""

    def __init__(self, name: str, version: int, path: str, timeout_ms: int = 0) -> None:
        """Loads the SavedModel in `path` and runs its warm-up.

        Args:
            name: of the model.
            version: number of the version.
            path: folder of the version.
            timeout_ms: when a call that is still in the graph is ended; 0: never.

        Raises:
            Exception: whatever TensorFlow raises for a folder that is no whole SavedModel, and ServingError for a
                warm-up that fails: such a version would fail its users too.
        """
        self.name = name
        self.version = version
        self.path = path
        self._timeout_ms = timeout_ms
        # A Session, not `tf.saved_model.load`: it checks no static shapes, as TensorFlow Serving does not, and on
        # the graph of an Estimator's export a call takes a fifth of the time.
        self._session = loading.LoadingSession(graph=tf.Graph())
        meta_graph = loading.load(self._session, path)
        self.signature_defs = dict(meta_graph.signature_def)
        self.signatures = {name: _signature(definition) for name, definition in self.signature_defs.items()}
        self._callables: dict[tuple[str, int], Any] = {}
        self._callables_lock = threading.Lock()
        self.warmup_calls = self._warm_up()

    def close(self) -> None:
        """Frees the memory of the model."""
        self._callables.clear()
        graph = self._session.graph
        self._session.close()
        del self._session
        loading.free(graph)

    def signature(self, name: str) -> Signature:
        """Signature of a name. Raises ServingError where the model has none of it."""
        if name not in self.signatures:
            raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
        return self.signatures[name]

    def input_types(self, name: str) -> Mapping[str, str]:
        """Dtype of each input of a signature. Raises ServingError."""
        return self.signature(name).inputs

    def predict(self, name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of a signature. Raises ServingError with what the graph says of such inputs."""
        signature = self.signature(name)
        try:
            values = self._callable(name, self._timeout_ms)(*(inputs[key] for key in signature.inputs))
        except tf.errors.OpError as error:
            raise ServingError(Code(error.error_code), error.message) from error
        except UnicodeDecodeError as error:
            # An error text that quotes bytes of the input; Python could not make its exception of it.
            raise invalid_argument(error.object.decode(*ENCODING)) from error
        return dict(zip(signature.outputs, values, strict=True))

    def run_examples(self, method: str, name: str, examples: np.ndarray) -> list[np.ndarray]:
        """Outputs of `method` (a key of `EXAMPLES_OUTPUTS`), in their order, for serialized Examples [n]."""
        if name not in self.signatures:
            raise invalid_argument(f"No signature was found with the name: {name}")
        signature, wanted = self.signatures[name], EXAMPLES_OUTPUTS[method]
        if (*signature.inputs,) != (EXAMPLES_INPUT,) or signature.outputs != wanted:
            found = f"inputs {', '.join(signature.inputs)} and outputs {', '.join(signature.outputs)}"
            problem = f"{method} needs an input {EXAMPLES_INPUT} and outputs {', '.join(wanted)}"
            raise invalid_argument(f"Signature {name} has {found}; {problem}")
        outputs = self.predict(name, {EXAMPLES_INPUT: examples})
        return [outputs[output] for output in wanted]

    def _callable(self, name: str, timeout_ms: int) -> Any:
        # Made on first use: a signature that nobody can call (an init op) must not stop the others.
        key = name, timeout_ms
        if made := self._callables.get(key):
            return made
        with self._callables_lock:
            if key not in self._callables:
                definition = self.signature_defs[name]
                options = config_pb2.CallableOptions(
                    feed=[definition.inputs[key].name for key in self.signatures[name].inputs],
                    fetch=[definition.outputs[key].name for key in self.signatures[name].outputs],
                    run_options=config_pb2.RunOptions(timeout_in_ms=timeout_ms),
                )
                self._callables[key] = self._session._make_callable_from_options(options)
            return self._callables[key]

    def _warm_up(self) -> int:
        count = 0
        try:
            for call in warm_up.calls(self.path):
                self._replay_in_any_time(call)
                count += 1
        except (ServingError, ValueError) as error:
            code = error.code if isinstance(error, ServingError) else Code.DATA_LOSS
            raise ServingError(code, f"{WARM_UP_FILE}, record {count}: {error}") from error
        return count

    def _replay_in_any_time(self, call: warm_up.Call) -> None:
        """Runs a warm-up call as calls will be run, and one that takes longer once more without their time-out."""
        try:
            self._replay(call)
        except ServingError as error:
            if error.code != Code.DEADLINE_EXCEEDED:
                raise
            limit, self._timeout_ms = self._timeout_ms, 0
            self._replay(call)
            self._timeout_ms = limit

    def _replay(self, call: warm_up.Call) -> None:
        name = call.signature or SHARED_CONTEXT
        if call.method == "predict":
            if missing := self.signature(name).inputs.keys() - call.inputs.keys():
                raise invalid_argument(f"Missing named input: {', '.join(sorted(missing))}")
            self.predict(name, call.inputs)
        else:
            self.run_examples(call.method, name, call.inputs[EXAMPLES_INPUT])


def _signature(definition: Any) -> Signature:
    # In order of their names: the map of the protocol buffer has another order in every process.
    infos = sorted(definition.inputs.items())
    inputs = {key: tf.as_dtype(info.dtype).name for key, info in infos}
    return Signature(
        inputs={key: _DTYPE_NAMES.get(name, name) for key, name in inputs.items()},
        ranks={key: -1 if info.tensor_shape.unknown_rank else len(info.tensor_shape.dim) for key, info in infos},
        outputs=tuple(sorted(definition.outputs)),
    )
