"""Trial of an exported version: loaded as a server loads it, and asked what its users will ask."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from features import names, schema_file
from features.raw_requests import RawRequest
from features.vocabulary import ID_DTYPE
from serving import sample_request, saved_model_files, warm_up
from serving.saved_model_files import CLASSIFICATION, SHARED_CONTEXT, SIGNATURES, CheckError
from storage import contents

v1 = tf.compat.v1

LARGEST_DIFFERENCE = 1e-6
# From the checkpoint's scores, where rows of the table were rounded: half a unit in the eleventh binary digit of each.
LARGEST_OF_ROUNDED = 2e-3


@dataclasses.dataclass(frozen=True)
class Checked:
    """What was found right of a version.

    Attributes:
        path: of the version.
        scores: values of the sample request's answer that were compared, over all signatures.
        largest_difference: between them and the checkpoint's.
        weights: numbers in the variables, all finite.
        ids: of the vocabulary.
        warm_up_calls: records of the warm-up file, all answered.
    """

    path: str
    scores: int
    largest_difference: float
    weights: int
    ids: int
    warm_up_calls: int

    def __str__(self) -> str:
        return (
            f"{self.path}: right: {self.scores} scores of {len(SIGNATURES)} signatures within "
            f"{self.largest_difference:.1e} of the checkpoint's, {self.weights:,} finite weights, "
            f"{self.ids:,} ids, {self.warm_up_calls} warm-up calls"
        )


def run(path: str) -> Checked:
    """Tries a version in this process.

    Args:
        path: of the version's folder, such as E/123.

    Raises:
        CheckError: it must not go live.
    """
    with naming(path), LoadedVersion(path) as loaded:
        return loaded.checked()


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Turns what goes wrong with a version into a CheckError that names it."""
    try:
        yield
    except CheckError:
        raise
    except (tf.errors.OpError, OSError, ValueError, LookupError) as error:
        message = error.message if isinstance(error, tf.errors.OpError) else str(error)
        raise CheckError(f"{path}: it cannot be loaded: {_line(message)}") from error


class LoadedVersion:
    """A version in a session, as a server has it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._require_version_folder()
        self._sample = sample_request.read(path)
        schema_path = saved_model_files.extra_file(path, names.SCHEMA_FILE)
        self._schema = schema_file.parse(_contents(schema_path), schema_path)
        self._session = v1.Session(graph=tf.Graph(), config=v1.ConfigProto(device_count={"GPU": 0}))
        with self._session.graph.as_default():
            loaded = v1.saved_model.loader.load(self._session, [tf.saved_model.SERVING], path)
        self._signatures = dict(loaded.signature_def)

    @property
    def _variables(self) -> str:
        return os.path.join(self._path, "variables", "variables")

    def __enter__(self) -> LoadedVersion:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    @property
    def allowed_difference(self) -> float:
        """Between its scores and those of the checkpoint that it was made of."""
        reader = tf.train.load_checkpoint(self._variables)
        return LARGEST_OF_ROUNDED if tf.float16 in reader.get_variable_to_dtype_map().values() else LARGEST_DIFFERENCE

    def scores_by_signature(self, request: RawRequest) -> Iterator[dict[str, np.ndarray]]:
        """A request's scores by each signature, float32 [impressions] by name. Raises CheckError for one refused."""
        for signature in SIGNATURES:
            try:
                found = self._scores(signature, request)
            except tf.errors.OpError as error:
                message = f"{self._path}: signature {signature}: a request is refused: {_line(error.message)}"
                raise CheckError(message) from error
            yield found

    def checked(self) -> Checked:
        """What is right. Raises CheckError where not all is."""
        problems = [*self._missing_signatures()]
        ids, of_vocabulary = self._vocabulary()
        weights, of_weights = self._weights()
        problems += [*of_vocabulary, *of_weights]
        differences: list[float] = []
        if not problems:
            problems += self._compare(differences)
        warm_up_calls = 0 if problems else self._warm_up(problems)
        if problems:
            raise CheckError("\n".join(f"{self._path}: {problem}" for problem in problems))
        count = len(SIGNATURES) * len(names.SCORES) * len(self._sample.request.sample_ids)
        return Checked(self._path, count, max(differences), weights, ids, warm_up_calls)

    def _require_version_folder(self) -> None:
        if tf.io.gfile.exists(os.path.join(self._path, "saved_model.pb")):
            return
        if found := saved_model_files.versions(self._path):
            inside = os.path.join(self._path, str(found[-1]))
            raise CheckError(f"{self._path}: a folder of versions, not a version; such as {inside} is one")
        raise CheckError(f"{self._path}: no exported version there: it has no saved_model.pb")

    def _missing_signatures(self) -> Iterator[str]:
        if absent := [name for name in SIGNATURES if name not in self._signatures]:
            yield f"signature {', '.join(absent)} is missing"

    def _vocabulary(self) -> tuple[int, list[str]]:
        """Number of ids, and what does not fit: of what the arrays hold the graph itself has seen to."""
        path = saved_model_files.extra_file(self._path, names.VOCABULARY_FILE)
        with contents.taken_apart(path, "export the model again"):
            ids = int(json.loads(_contents(path))["kept_ids"])
        size = tf.io.gfile.stat(os.path.join(self._path, "assets", names.VOCABULARY_IDS_FILE)).length
        there = size // ID_DTYPE.itemsize
        return ids, [] if there == ids else [f"{names.VOCABULARY_FILE} tells of {ids} ids, the model has {there}"]

    def _weights(self) -> tuple[int, list[str]]:
        reader = tf.train.load_checkpoint(self._variables)
        count, problems = 0, []
        for name in sorted(reader.get_variable_to_shape_map()):
            values = np.asarray(reader.get_tensor(name))
            count += values.size
            if values.dtype.kind in "fV" and (odd := int(np.sum(~np.isfinite(values.astype(np.float32))))):
                problems.append(f"weights {name}: {odd} of {values.size} are not finite numbers")
        return count, problems

    def _compare(self, differences: list[float]) -> Iterator[str]:
        for signature in SIGNATURES:
            try:
                found = self._scores(signature, self._sample.request)
            except tf.errors.OpError as error:
                yield f"signature {signature}: the sample request is refused: {_line(error.message)}"
                continue
            for name in names.SCORES:
                apart, problem = difference(found[name], self._sample.scores[name])
                differences.append(apart)
                if problem:
                    yield f"signature {signature}, {name}: {problem}"

    def _scores(self, signature: str, request: RawRequest) -> dict[str, np.ndarray]:
        if signature == SHARED_CONTEXT:
            tensors = warm_up.shared_context_tensors(request, self._schema)
        else:
            tensors = warm_up.examples_tensors(request, self._schema)
        values = {key: tf.make_ndarray(tensor) for key, tensor in tensors.items()}
        if signature != CLASSIFICATION:
            return self._run(signature, values)
        found = self._run(signature, {tf.saved_model.CLASSIFY_INPUTS: next(iter(values.values()))})
        return dict(zip(names.SCORES, found[tf.saved_model.CLASSIFY_OUTPUT_SCORES].T, strict=True))

    def _run(self, signature: str, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        definition = self._signatures[signature]
        fetches = {name: info.name for name, info in definition.outputs.items()}
        return self._session.run(fetches, {definition.inputs[key].name: value for key, value in values.items()})

    def _warm_up(self, problems: list[str]) -> int:
        """Runs the warm-up calls as a server does; returns how many there are."""
        count = 0
        try:
            for call in warm_up.calls(self._path):
                count += 1
                self._run(call.signature or SHARED_CONTEXT, call.inputs)
        except (tf.errors.OpError, ValueError, LookupError) as error:
            message = error.message if isinstance(error, tf.errors.OpError) else str(error)
            problems.append(f"{saved_model_files.WARM_UP_FILE}, record {count}: {_line(message)}")
        return count


def difference(found: np.ndarray, expected: Sequence[float]) -> tuple[float, str]:
    """Largest difference, and what is wrong with the scores; empty where nothing is."""
    if np.shape(found) != np.shape(expected):
        return 0.0, f"{len(found)} scores, the checkpoint gave {len(expected)}"
    if not np.all(np.isfinite(found)) or not np.all((found >= 0) & (found <= 1)):
        odd = next(value for value in found if not 0 <= value <= 1)
        return 0.0, f"{odd} is no score: a finite number from 0 to 1 is"
    apart = float(np.max(np.abs(found - np.asarray(expected)), initial=0.0))
    # Written so that NaN of the checkpoint is none that fits.
    if not apart <= LARGEST_DIFFERENCE:
        return apart, f"{apart:.2g} away from the checkpoint's, allowed is {LARGEST_DIFFERENCE:g}"
    return apart, ""


def _contents(path: str) -> bytes:
    import tensorflow as tf

    with tf.io.gfile.GFile(path, "rb") as file:
        return bytes(file.read())


def _line(message: str) -> str:
    return " ".join(message.split())[:500]
