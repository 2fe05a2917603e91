"""A toy model whose scores are known in plain Python, and a server of it in a process of its own."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import urllib.parse

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving import saved_model_files

v1 = tf.compat.v1
saved_model = v1.saved_model


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def toy_scores(user, weights, items, shift=0.0):
    """What the toy model answers: items are rows of ids, -1 for padding."""
    item = np.array([sum(i for i in row if i >= 0) for row in items]) / 10
    context = float(np.dot(user, weights)) / 100
    pctr, pcvr = sigmoid(item + context + shift), sigmoid(item / 2 - context + shift)
    return {"pctr": pctr, "pcvr": pcvr, "pctcvr": pctr * pcvr}


def write_toy_model(path, shift=0.0, warm_up=({"user": [1], "user/weight": [1.0], "item": [[1, -1]]},)):
    """SavedModel with the three signatures, and `slow`, which counts to `turns` before it answers."""
    with tf.Graph().as_default(), v1.Session() as session:
        user = v1.placeholder(tf.int64, [None], "user")
        weight = v1.placeholder(tf.float32, [None], "weight")
        item = v1.placeholder(tf.int64, [None, None], "item")
        item_sum = tf.reduce_sum(tf.cast(tf.maximum(item, 0), tf.float32), axis=1)
        scores = _scores(tf.reduce_sum(tf.cast(user, tf.float32) * weight), item_sum, shift)
        turns = v1.placeholder(tf.int64, [], "turns")
        slow = {"turns": tf.while_loop(lambda i: i < turns, lambda i: i + 1, [tf.constant(0, tf.int64)])[0]}
        serialized = v1.placeholder(tf.string, [None], "serialized")
        by_example = _example_scores(serialized, shift)
        classes = tf.tile([["ctr", "cvr", "ctcvr"]], [tf.shape(serialized)[0], 1])
        stacked = tf.stack([by_example[name] for name in ("pctr", "pcvr", "pctcvr")], axis=1)
        predict, classify = "tensorflow/serving/predict", "tensorflow/serving/classify"
        builder = saved_model.Builder(path)
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {
                "serving_default": _signature({"user": user, "user/weight": weight, "item": item}, scores, predict),
                "slow": _signature({"turns": turns}, slow, predict),
                "examples": _signature({"examples": serialized}, by_example, predict),
                "classification": _signature({"inputs": serialized}, {"classes": classes, "scores": stacked}, classify),
            },
        )
        builder.save()
    write_warm_up(path, warm_up)
    return path


def write_warm_up(path, calls):
    os.makedirs(os.path.join(path, saved_model_files.EXTRA_DIR), exist_ok=True)
    dtypes = {"user": tf.int64, "user/weight": tf.float32, "item": tf.int64, "turns": tf.int64}
    with tf.io.TFRecordWriter(saved_model_files.extra_file(path, saved_model_files.WARM_UP_FILE)) as writer:
        for call in calls:
            log = prediction_log_pb2.PredictionLog()
            if "turns" in call:
                log.predict_log.request.model_spec.signature_name = "slow"
            for name, value in call.items():
                proto = tf.make_tensor_proto(value, dtypes[name])
                log.predict_log.request.inputs[name].CopyFrom(proto)
            writer.write(log.SerializeToString())


def _scores(context, item_sum, shift):
    pctr = tf.sigmoid(item_sum / 10 + context / 100 + shift)
    pcvr = tf.sigmoid(item_sum / 20 - context / 100 + shift)
    return {"pctr": pctr, "pcvr": pcvr, "pctcvr": pctr * pcvr}


def _example_scores(serialized, shift):
    spec = {
        "user": tf.io.RaggedFeature(tf.int64),
        "user/weight": tf.io.RaggedFeature(tf.float32),
        "item": tf.io.RaggedFeature(tf.int64),
    }
    parsed = tf.io.parse_example(serialized, spec)
    context = tf.reduce_sum(tf.cast(parsed["user"], tf.float32) * parsed["user/weight"], axis=1)
    return _scores(context, tf.reduce_sum(tf.cast(parsed["item"], tf.float32), axis=1), shift)


def _signature(inputs, outputs, method):
    def infos(tensors):
        return {name: saved_model.build_tensor_info(tensor) for name, tensor in tensors.items()}

    return saved_model.build_signature_def(infos(inputs), infos(outputs), method)


class Server:
    """A running server; `call` speaks HTTP with it."""

    def __init__(self, process, url):
        self.process = process
        self.url = url
        self.address = urllib.parse.urlsplit(url)

    def connection(self, timeout=60):
        return http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=timeout)

    def call(self, method, path, body=None, headers=None):
        """Status, headers and body of an answer."""
        connection = self.connection()
        try:
            raw = body if body is None or isinstance(body, bytes | str) else json.dumps(body)
            connection.request(method, path, raw, headers or {})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def json(self, method, path, body=None):
        """Status and JSON of an answer."""
        status, _, answer = self.call(method, path, body)
        return status, json.loads(answer)

    def versions(self, model="toy"):
        """State of each version."""
        _, answer = self.json("GET", f"/v1/models/{model}")
        return {entry["version"]: entry["state"] for entry in answer["model_version_status"]}


@contextlib.contextmanager
def running_server(*flags, log=subprocess.DEVNULL):
    """A server on a free port; ended with SIGTERM, and must end well."""
    command = [sys.executable, "-m", "serving", "--rest_api_port=0", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("Serving at "), f"the server did not start: {line!r}"
        yield Server(process, line.split()[2].rstrip(";"))
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()
