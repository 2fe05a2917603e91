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
from serving.local_server.json_document import ENCODING
from serving.local_server.status import Code, ServingError, invalid_argument
from serving.saved_model_files import SHARED_CONTEXT, WARM_UP_FILE

CLASSIFY_INPUT = "inputs"
CLASSIFY_CLASSES = "classes"
CLASSIFY_SCORES = "scores"
REGRESS_INPUT = "inputs"
REGRESS_OUTPUT = "outputs"

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


class _LoadingSession(tf.compat.v1.Session):
    """A session whose `run`, which loading alone calls, works on the caller's thread.

    That thread has a low priority: on TensorFlow's own threads, weights and vocabulary would be read at the cost of
    the calls that other versions answer.
    """

    def run(self, fetches: Any, feed_dict: Any = None, options: Any = None, run_metadata: Any = None) -> Any:
        options = options or config_pb2.RunOptions(inter_op_thread_pool=-1)
        return super().run(fetches, feed_dict, options, run_metadata)


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
        # Warm-up takes the time that it takes.
        self._timeout_ms = 0
        # A Session, not `tf.saved_model.load`: it checks no static shapes, as TensorFlow Serving does not, and on
        # the graph of an Estimator's export a call takes a fifth of the time.
        graph = tf.Graph()
        self._session = _LoadingSession(graph=graph)
        with graph.as_default():
            meta_graph = tf.compat.v1.saved_model.loader.load(self._session, [tf.saved_model.SERVING], path)
        self.signature_defs = dict(meta_graph.signature_def)
        self.signatures = {name: _signature(definition) for name, definition in self.signature_defs.items()}
        self._callables: dict[tuple[str, int], Any] = {}
        self._callables_lock = threading.Lock()
        self.warmup_calls = self._warm_up()
        self._timeout_ms = timeout_ms
        for name in {name for name, _ in self._callables}:
            self._callable(name, timeout_ms)

    def close(self) -> None:
        """Frees the memory of the model."""
        self._callables.clear()
        self._session.close()

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

    def classify(self, name: str, examples: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Classes and scores `[examples, classes]` of serialized Examples [n]; None for the one that is not there."""
        signature = self._examples_signature(name, CLASSIFY_INPUT)
        if len(signature.outputs) > 2:
            raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
        if not {CLASSIFY_CLASSES, CLASSIFY_SCORES} & set(signature.outputs):
            raise ServingError(
                Code.FAILED_PRECONDITION,
                f'Expected classification signature outputs to contain at least one of "{CLASSIFY_CLASSES}" or '
                f'"{CLASSIFY_SCORES}". Outputs are: {", ".join(signature.outputs)}',
            )
        outputs = self.predict(name, {CLASSIFY_INPUT: examples})
        return outputs.get(CLASSIFY_CLASSES), outputs.get(CLASSIFY_SCORES)

    def regress(self, name: str, examples: np.ndarray) -> np.ndarray:
        """Values `[examples]` or `[examples, 1]` of serialized Examples [n]."""
        signature = self._examples_signature(name, REGRESS_INPUT)
        if len(signature.outputs) != 1:
            raise invalid_argument("Expected one output Tensor.")
        if REGRESS_OUTPUT not in signature.outputs:
            raise ServingError(Code.FAILED_PRECONDITION, f"No regression outputs found in signature {name}")
        return self.predict(name, {REGRESS_INPUT: examples})[REGRESS_OUTPUT]

    def _examples_signature(self, name: str, input_name: str) -> Signature:
        if name not in self.signatures:
            raise invalid_argument(f"No signature was found with the name: {name}")
        signature = self.signatures[name]
        if len(signature.inputs) != 1:
            raise invalid_argument("Expected one input Tensor.")
        if input_name not in signature.inputs:
            raise ServingError(Code.FAILED_PRECONDITION, f"No input {input_name} found in signature {name}")
        return signature

    def _callable(self, name: str, timeout_ms: int) -> Any:
        # Made on first use: a signature that nobody can call (an init op) must not stop the others.
        key = name, timeout_ms
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
                self._replay(call)
                count += 1
        except (ServingError, ValueError) as error:
            code = error.code if isinstance(error, ServingError) else Code.DATA_LOSS
            raise ServingError(code, f"{WARM_UP_FILE}, record {count}: {error}") from error
        return count

    def _replay(self, call: warm_up.Call) -> None:
        name = call.signature or SHARED_CONTEXT
        if call.method == "predict":
            if missing := self.signature(name).inputs.keys() - call.inputs.keys():
                raise invalid_argument(f"Missing named input: {', '.join(sorted(missing))}")
            self.predict(name, call.inputs)
        else:
            run = self.classify if call.method == "classify" else self.regress
            run(name, call.inputs[CLASSIFY_INPUT])


def _signature(definition: Any) -> Signature:
    # In order of their names: the map of the protocol buffer has another order in every process.
    infos = sorted(definition.inputs.items())
    inputs = {key: tf.as_dtype(info.dtype).name for key, info in infos}
    return Signature(
        inputs={key: _DTYPE_NAMES.get(name, name) for key, name in inputs.items()},
        ranks={key: -1 if info.tensor_shape.unknown_rank else len(info.tensor_shape.dim) for key, info in infos},
        outputs=tuple(sorted(definition.outputs)),
    )
