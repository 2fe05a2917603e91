"""Every op of a training step has a GPU kernel in the installed TensorFlow, with the exceptions that stand here."""

import functools

import pytest
import tensorflow as tf
from model_batches import SCHEMA, VOCABULARY_SIZE, small
from tensorflow.python.framework import kernels

from features import names
from model_fn import estimator as tf_estimator
from model_fn.estimator_model import model_fn
from model_fn.hyperparameters import BACKBONES, OPTIMIZERS
from model_fn.models import MODELS

# Work of the host, wherever the model runs: TensorBoard's summaries, and the constant strings that name them.
ON_THE_HOST = {"ScalarSummary", "HistogramSummary", "Const of string"}


def placeholder(dtype, *splits):
    values = tf.compat.v1.placeholder(dtype, [None])
    for _ in splits:
        values = tf.RaggedTensor.from_row_splits(values, tf.compat.v1.placeholder(tf.int64, [None]), validate=False)
    return values


def batch():
    """Features and labels as placeholders: the input pipeline, which stays on the CPU, is not part of the graph."""
    features = {names.SAMPLE_ID: placeholder(tf.int64, "impressions")}
    for field in SCHEMA.fields:
        splits = ([] if field.is_context else ["impressions"]) + (["values"] if field.is_many else [])
        features[field.name] = placeholder(tf.int64, *splits)
        if field.weighted:
            features[field.weight_key] = placeholder(tf.float32, *splits)
    return features, {name: placeholder(tf.int64, "impressions") for name in (names.CLICK, names.CONVERSION)}


def without_gpu_kernel(settings):
    params = {"schema": SCHEMA, "vocabulary_size": VOCABULARY_SIZE, "hyperparameters": settings}
    with tf.Graph().as_default() as graph:
        model_fn(*batch(), tf_estimator.ModeKeys.TRAIN, params)
        nodes = graph.as_graph_def().node
    lacking = [node for node in nodes if node.op != "Placeholder" and not has_gpu_kernel(node)]
    return {"Const of string" if node.attr["dtype"].type == tf.string else node.op for node in lacking}


@functools.cache
def kernels_of(op):
    return kernels.get_registered_kernels_for_op(op).kernel


def has_gpu_kernel(node):
    registered = kernels_of(node.op)
    return any(
        kernel.device_type in ("GPU", "DEFAULT")
        and all(node.attr[one.name].type in one.allowed_values.list.type for one in kernel.constraint)
        for kernel in registered
    )


@pytest.mark.parametrize(
    ("model", "backbone"), [(model, BACKBONES[0]) for model in MODELS] + [("escm2_dr", one) for one in BACKBONES[1:]]
)
def test_every_model_trains_on_a_gpu(model, backbone):
    settings = small(model=model, backbone=backbone, clip_norm=1.0, l2_reg=0.1, embedding_l2_reg=0.1)
    assert without_gpu_kernel(settings) == ON_THE_HOST


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_runs_on_a_gpu(optimizer):
    settings = small(optimizer=optimizer, embedding_optimizer=optimizer, decay="cosine", decay_steps=5, warmup_steps=2)
    assert without_gpu_kernel(settings) == ON_THE_HOST


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_norm": True, "dropout": (0.1, 0.1)},
        {"combiner": "mean"},
        {"combiner": "sqrtn"},
        {"precision": "bfloat16"},
        {"precision": "float16", "batch_norm": True},
        {"propensity_normalize": "self", "model": "escm2_dr"},
    ],
)
def test_every_option_runs_on_a_gpu(changes):
    assert without_gpu_kernel(small(**changes)) == ON_THE_HOST


def test_the_check_finds_an_op_without_kernel():
    with tf.Graph().as_default() as graph:
        tf.raw_ops.UniqueV2(x=tf.constant([1, 2]), axis=tf.constant([0]))
        unique = [node for node in graph.as_graph_def().node if node.op == "UniqueV2"]
    assert not has_gpu_kernel(unique[0])
