"""A sample of a day's raw rows through a version's signatures, beside what the checkpoint makes of their records."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

import storage
from daily.day import Day
from features import names, raw_requests
from features.raw_requests import RawLogError, RawRequest
from model_fn import estimator as tf_estimator
from serving.trial import LoadedVersion
from storage import contents
from trainer import continuation, data_dir, run_config, training_graph
from trainer.data_dir import DataDir
from trainer.options import INFER, Options

# About as many of the log's first impressions are compared, in requests of so many at most.
_IMPRESSIONS = 512
_LARGEST_REQUEST = 128

Scores = dict[int, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Compared:
    """What was compared.

    Attributes:
        impressions: how many.
        difference: the largest between a signature's scores and the checkpoint's.
        allowed: the largest that may be.
    """

    impressions: int
    difference: float
    allowed: float

    @property
    def fault(self) -> str:
        """What is wrong; empty: nothing."""
        if not self.impressions:
            return "none of the log's first impressions is in the records of the day's test and train split"
        # Written so that NaN does not fit.
        if not self.difference <= self.allowed:
            return (
                f"scores of {self.impressions} raw impressions of the day are up to {self.difference:.2g} away from "
                f"those of their records, allowed is {self.allowed:g}"
            )
        return ""


def compare(day: Day, log: str, version: LoadedVersion) -> Compared:
    """Compares the scores of the first impressions of a day.

    Args:
        day: whose records and model are there.
        log: its folder of raw log.
        version: exported from the model, loaded.

    Raises:
        FileNotFoundError: the log is gone.
        ValueError: the records or the model cannot be read.
    """
    data = data_dir.load(day.data)
    for split in (names.TEST, names.TRAIN):
        if not data.has(split):
            continue
        requests = list(_first_requests(log, split, data))
        by_checkpoint = _of_checkpoint(day, data, split, {i for request in requests for i in request.sample_ids})
        if by_checkpoint:
            apart = [_difference(version, request, by_checkpoint) for request in requests]
            return Compared(len(by_checkpoint), float(np.max(np.concatenate(apart))), version.allowed_difference)
    return Compared(0, 0.0, 0.0)


def _first_requests(log: str, split: str, data: DataDir) -> Iterator[RawRequest]:
    report = storage.join(data.path, names.REPORT_DIR, names.REPORT_JSON)
    with contents.taken_apart(report, "run the day's preprocess step again"):
        input_format = str(contents.read_object(report)["input"]["format"])
    found = raw_requests.read(log, split, data.schema, input_format, _pass_over, _LARGEST_REQUEST)
    count = 0
    for request in found:
        yield request
        count += len(request.sample_ids)
        if count >= _IMPRESSIONS:
            return


def _pass_over(error: RawLogError) -> None:
    """Rows that cannot be read are not among the records either; the job reports them."""


def _of_checkpoint(day: Day, data: DataDir, split: str, wanted: set[int]) -> Scores:
    """The checkpoint's scores of those wanted that are among the records: float32 [3] by sample id."""
    from input_fn import dataset, files

    model = continuation.find(day.model)
    options = Options(task_type=INFER, data_dir=day.data, model_dir=day.model, predictions="-")
    params: training_graph.Params = {
        "schema": data.schema,
        "vocabulary_size": data.vocabulary.size,
        "hyperparameters": model.settings,
    }
    config = run_config.make(options).replace(model_dir=day.model)
    estimator = tf_estimator.Estimator(training_graph.model_fn, config=config, params=params)
    paths, read = files.find(data.records(split)), options.scoring_input(ordered=True)
    batches = estimator.predict(
        lambda: dataset.make_dataset(paths, data.schema, data.vocabulary.size, read),
        checkpoint_path=model.checkpoint,
        yield_single_examples=False,
    )
    found: Scores = {}
    for batch in batches:
        found |= _wanted_of(batch, wanted)
        if len(found) == len(wanted):
            break
    return found


def _wanted_of(batch: Mapping[str, np.ndarray], wanted: set[int]) -> Scores:
    ids = batch[names.SAMPLE_ID].tolist()
    scores = np.stack([batch[name] for name in names.SCORES], axis=1)
    return {sample_id: row for sample_id, row in zip(ids, scores, strict=True) if sample_id in wanted}


def _difference(version: LoadedVersion, request: RawRequest, by_checkpoint: Scores) -> np.ndarray:
    """Differences of a request's impressions that the checkpoint has scored, over all signatures: float32 [n]."""
    known = [place for place, sample_id in enumerate(request.sample_ids) if sample_id in by_checkpoint]
    if not known:
        return np.zeros(1, np.float32)
    expected = np.stack([by_checkpoint[request.sample_ids[place]] for place in known])
    apart = [
        np.abs(np.stack([scores[name] for name in names.SCORES], axis=1)[known] - expected)
        for scores in version.scores_by_signature(request)
    ]
    return np.concatenate(apart).ravel()
