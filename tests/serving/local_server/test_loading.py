"""A model that is loaded in pieces is the model: also of nodes that are run for their effect, and of loops."""

import numpy as np
import pytest
import tensorflow as tf
from served_model_examples import make_trained, make_vocabulary, mixed_schema

from serving import trial
from serving.local_server import loading
from serving.local_server.servable import Servable
from serving.local_server.status import ServingError

v1 = tf.compat.v1


def write_model(path, with_loop):
    """A variable, a check without outputs that a sum waits for, and a loop."""
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.int64, [None], "x")
        base = v1.get_variable("base", initializer=tf.constant(100, tf.int64))
        with tf.control_dependencies([tf.debugging.assert_non_negative(x, "not so")]):
            total = tf.reduce_sum(x) + base
        outputs = {"total": total}
        if with_loop:
            outputs["turns"] = tf.while_loop(lambda i: i < total, lambda i: i + 7, [tf.constant(0, tf.int64)])[0]
        session.run(v1.global_variables_initializer())
        inputs, outputs = (
            {name: v1.saved_model.build_tensor_info(tensor) for name, tensor in tensors.items()}
            for tensors in ({"x": x}, outputs)
        )
        signature = v1.saved_model.build_signature_def(inputs, outputs, "tensorflow/serving/predict")
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    return str(path)


@pytest.mark.parametrize("nodes", [1, 3, 10**6])
@pytest.mark.parametrize("with_loop", [False, True])
def test_pieces_of_any_size_make_the_same_graph(tmp_path, monkeypatch, nodes, with_loop):
    monkeypatch.setattr(loading, "_NODES_AT_ONCE", nodes)
    servable = Servable("m", 1, write_model(tmp_path / "1", with_loop))
    expected = {"total": 103} | ({"turns": 105} if with_loop else {})
    assert servable.predict("serving_default", {"x": np.array([1, 2])}) == expected
    with pytest.raises(ServingError, match="not so"):
        servable.predict("serving_default", {"x": np.array([1, -2])})
    servable.close()


def test_an_export_in_pieces_answers_as_its_checkpoint(tmp_path, monkeypatch):
    path = make_trained(str(tmp_path / "trained"), make_vocabulary(mixed_schema())).export(str(tmp_path / "export"))
    monkeypatch.setattr(loading, "_NODES_AT_ONCE", 7)
    servable = Servable("m", 1, path)
    assert servable.warmup_calls == 3
    sample = trial.sample_request.read(path)
    tensors = trial.warm_up.shared_context_tensors(sample.request, mixed_schema())
    found = servable.predict("serving_default", {key: tf.make_ndarray(proto) for key, proto in tensors.items()})
    for name, scores in sample.scores.items():
        np.testing.assert_allclose(found[name], scores, atol=1e-6)
