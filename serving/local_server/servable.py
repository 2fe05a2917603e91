"""A loaded version of a model: its signatures, run by name, and the warm-up that came with it."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import prediction_log_pb2

from serving.local_server.examples_json import with_context
from serving.local_server.json_document import ENCODING
from serving.local_server.status import Code, ServingError, invalid_argument
from serving.saved_model_files import SHARED_CONTEXT, WARM_UP_FILE, extra_file

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
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        with graph.as_default():
            meta_graph = tf.compat.v1.saved_model.loader.load(self._session, [tf.saved_model.SERVING], path)
        self.signature_defs = dict(meta_graph.signature_def)
        self.signatures = {name: _signature(definition) for name, definition in self.signature_defs.items()}
        self._callables: dict[str, Any] = {}
        self._callables_lock = threading.Lock()
        self.warmup_calls = self._warm_up()

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
            values = self._callable(name)(*(inputs[key] for key in signature.inputs))
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

    def _callable(self, name: str) -> Any:
        # Made on first use: a signature that nobody can call (an init op) must not stop the others.
        with self._callables_lock:
            if name not in self._callables:
                definition = self.signature_defs[name]
                options = config_pb2.CallableOptions(
                    feed=[definition.inputs[key].name for key in self.signatures[name].inputs],
                    fetch=[definition.outputs[key].name for key in self.signatures[name].outputs],
                    run_options=config_pb2.RunOptions(timeout_in_ms=self._timeout_ms),
                )
                self._callables[name] = self._session._make_callable_from_options(options)
            return self._callables[name]

    def _warm_up(self) -> int:
        count = 0
        for log in warmup_logs(self.path):
            try:
                self._replay(log)
            except ServingError as error:
                raise ServingError(error.code, f"{WARM_UP_FILE}, record {count}: {error}") from error
            count += 1
        return count

    def _replay(self, log: prediction_log_pb2.PredictionLog) -> None:
        kind = log.WhichOneof("log_type")
        if kind == "predict_log":
            request = log.predict_log.request
            inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
            name = request.model_spec.signature_name or SHARED_CONTEXT
            if missing := self.signature(name).inputs.keys() - inputs.keys():
                raise invalid_argument(f"Missing named input: {', '.join(sorted(missing))}")
            self.predict(name, inputs)
        elif kind in ("classify_log", "regress_log"):
            request = getattr(log, kind).request
            name = request.model_spec.signature_name or SHARED_CONTEXT
            call = self.classify if kind == "classify_log" else self.regress
            call(name, _examples_of_input(request.input))
        else:
            raise ServingError(Code.UNIMPLEMENTED, f"a {kind or 'log of no kind'} cannot be replayed")


def warmup_logs(path: str) -> Iterator[prediction_log_pb2.PredictionLog]:
    """Records of a SavedModel's warm-up file; none where there is none. Raises ServingError for a broken file."""
    file = extra_file(path, WARM_UP_FILE)
    if not os.path.exists(file):
        return
    try:
        for record in tf.data.TFRecordDataset(file).as_numpy_iterator():
            yield prediction_log_pb2.PredictionLog.FromString(record)
    except (tf.errors.OpError, ValueError) as error:
        raise ServingError(Code.DATA_LOSS, f"{file}: no file of PredictionLog records: {error}") from error


def _signature(definition: Any) -> Signature:
    # In order of their names: the map of the protocol buffer has another order in every process.
    infos = sorted(definition.inputs.items())
    inputs = {key: tf.as_dtype(info.dtype).name for key, info in infos}
    return Signature(
        inputs={key: _DTYPE_NAMES.get(name, name) for key, name in inputs.items()},
        ranks={key: -1 if info.tensor_shape.unknown_rank else len(info.tensor_shape.dim) for key, info in infos},
        outputs=tuple(sorted(definition.outputs)),
    )


def _examples_of_input(message: Any) -> np.ndarray:
    if message.WhichOneof("kind") == "example_list_with_context":
        examples = message.example_list_with_context
        context = examples.context.SerializeToString()
    else:
        examples, context = message.example_list, b""
    if not examples.examples:
        raise invalid_argument("Input is empty.")
    return with_context(context, [example.SerializeToString() for example in examples.examples])
