"""Propensities that were made elsewhere: a CSV file of sample ids and chances of a click, looked up in training.

Such a file is what `--task_type=infer --split=train` of another model writes (one of more passes, of another
backbone, or of other folds of the log), or a simulated log's truth.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.csv
import tensorflow as tf

import storage
from features import names

# The column that holds the chance of a click: of predictions, or of a simulated log's truth.
_COLUMNS = (names.PCTR, "p_click")


class PropensityFile:
    """Chances of a click by sample id, in the host's memory: 12 bytes an impression.

    Args:
        path: CSV with a header, local or remote.

    Raises:
        ValueError: the file lacks a column, has no rows, an id twice, or a value that is no chance.
        OSError: it cannot be read.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        table = _read(path)
        ids = table[names.SAMPLE_ID].to_numpy()
        order = np.argsort(ids, kind="stable")
        self._ids = ids[order].astype(np.int64)
        self._chances = table.column(1).to_numpy()[order].astype(np.float32)
        twice = np.flatnonzero(self._ids[1:] == self._ids[:-1])
        if len(twice):
            raise ValueError(f"--propensity_from={path}: sample_id {self._ids[twice[0]]} is there twice")
        wrong = np.flatnonzero(~((self._chances >= 0) & (self._chances <= 1)))
        if len(wrong):
            at = wrong[0]
            raise ValueError(
                f"--propensity_from={path}: sample_id {self._ids[at]} has {self._chances[at]}; a chance is 0 to 1"
            )

    def of(self, sample_ids: tf.Tensor) -> tf.Tensor:
        """Chance of a click of each impression: int64 [n] -> float32 [n]; an id that is not there is an error."""
        found = tf.numpy_function(self.lookup, [sample_ids], tf.float32)
        return tf.ensure_shape(found, sample_ids.shape)

    def lookup(self, sample_ids: np.ndarray) -> np.ndarray:
        """As `of`, in NumPy.

        Raises:
            ValueError: an id is not in the file.
        """
        place = np.minimum(np.searchsorted(self._ids, sample_ids), len(self._ids) - 1)
        missing = np.flatnonzero(self._ids[place] != sample_ids)
        if len(missing):
            raise ValueError(
                f"--propensity_from={self._path}: no sample_id {sample_ids[missing[0]]}, which the log has: score the "
                "whole train split of this log (--task_type=infer --split=train)"
            )
        return self._chances[place]


def _read(path: str) -> pa.Table:
    """sample_id and the chance of a click, in this order."""
    try:
        with storage.reading(path) as file:
            table = pa.csv.read_csv(file)
    except pa.ArrowInvalid as error:
        raise ValueError(f"--propensity_from={path}: {error}") from error
    column = next((name for name in _COLUMNS if name in table.column_names), None)
    if column is None or names.SAMPLE_ID not in table.column_names or not table.num_rows:
        raise ValueError(
            f"--propensity_from={path}: needed are rows with {names.SAMPLE_ID} and one of {', '.join(_COLUMNS)}; "
            f"it has {', '.join(table.column_names)} and {table.num_rows} rows"
        )
    table = table.select([names.SAMPLE_ID, column])
    try:
        return table.cast(pa.schema([(names.SAMPLE_ID, pa.int64()), (column, pa.float32())]))
    except pa.ArrowInvalid as error:
        raise ValueError(f"--propensity_from={path}: {error}") from error
