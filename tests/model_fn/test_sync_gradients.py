"""Two processes in lock step, over loopback, are one on both their batches; and a table in parts is one table."""

import socket
import threading

import numpy as np
import pytest
import tensorflow as tf

from model_fn import optimizers, sync_gradients
from model_fn.embedding import TABLE
from model_fn.hyperparameters import Hyperparameters
from model_fn.sync_gradients import Exchange

ROWS, WIDTH, BATCH, STEPS = 7, 3, 4, 5
v1 = tf.compat.v1


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def servers():
    """A chief, a worker and two parameter servers, all in this process; what they share lives as long as they do."""
    counts = {"chief": 1, "worker": 1, "ps": 2}
    cluster = tf.train.ClusterSpec(
        {role: [f"127.0.0.1:{free_port()}" for _ in range(count)] for role, count in counts.items()}
    )
    return {(role, i): tf.distribute.Server(cluster, role, i) for role, n in counts.items() for i in range(n)}, cluster


def batches(seed, size):
    rng = np.random.default_rng(seed)
    return [(rng.integers(0, ROWS, size), rng.normal(size=size)) for _ in range(STEPS)]


class Model:
    """A table and a dense weight; `exchange` says how its gradients meet those of others."""

    def __init__(self, optimizer, exchange=None, device=None, parts=1):
        settings = Hyperparameters(
            optimizer=optimizer,
            embedding_optimizer=optimizer,
            learning_rate=0.1,
            clip_norm=0.5,
            initial_accumulator=0.1,
        )
        self.graph = tf.Graph()
        with self.graph.as_default(), self.graph.device(device):
            self.columns = v1.placeholder(tf.int64, [None]), v1.placeholder(tf.float32, [None])
            partitioner = v1.fixed_size_partitioner(parts) if parts > 1 else None
            start = tf.constant_initializer(0.1)
            table = v1.get_variable(TABLE, [ROWS, WIDTH], initializer=start, partitioner=partitioner, use_resource=True)
            weight = v1.get_variable("weight", [WIDTH], initializer=start, use_resource=True)
            rows, places = tf.unique(self.columns[0])
            looked_up = v1.nn.embedding_lookup(list(table) if parts > 1 else table, rows, partition_strategy="div")
            score = tf.linalg.matvec(tf.gather(looked_up, places), weight)
            loss = tf.reduce_mean(tf.square(score - self.columns[1]))
            self.step = optimizers.train_op(loss, settings, [], exchange=exchange)
            self.weights = [tf.concat(list(table) if parts > 1 else [table], 0), tf.identity(weight)]
            self.initialize = v1.global_variables_initializer()
            self.saver = v1.train.Saver()

    def feed(self, batch):
        return dict(zip(self.columns, batch, strict=True))


@pytest.mark.parametrize("optimizer", ["SGD", "LazyAdam"])
def test_a_step_of_two_is_one_on_both_batches(optimizer, servers, tmp_path):
    started, cluster = servers
    own = batches(1, BATCH), batches(2, BATCH)
    models = [
        Model(optimizer, Exchange(2, index), v1.train.replica_device_setter(cluster=cluster, worker_device=place), 2)
        for index, place in enumerate(("/job:chief/task:0", "/job:worker/task:0"))
    ]
    go_on, no_more = (
        models[0].graph.get_collection(name)[0] for name in (sync_gradients.GO_ON, sync_gradients.NO_MORE)
    )
    ended = []

    def work():
        with v1.Session(started["worker", 0].target, graph=models[1].graph) as session:
            for batch in own[1]:
                session.run(models[1].step, models[1].feed(batch))
            try:
                session.run(models[1].step, models[1].feed(batch))
            except tf.errors.OutOfRangeError:
                ended.append(True)

    worker = threading.Thread(target=work, daemon=True)
    with v1.Session(started["chief", 0].target, graph=models[0].graph) as session:
        session.run(models[0].initialize)
        worker.start()
        for number, batch in enumerate(own[0]):
            if number:
                session.run(go_on)
            session.run(models[0].step, models[0].feed(batch))
        found = session.run(models[0].weights)
        models[0].saver.save(session, str(tmp_path / "model.ckpt"))
        session.run(go_on)
        session.run(no_more)
        worker.join(60)
    assert ended == [True]
    for got, wanted in zip(found, alone(optimizer, own), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5)
    # In a checkpoint the parts are one table, whatever the optimizer keeps beside it.
    one = Model(optimizer)
    with v1.Session(graph=one.graph) as session:
        one.saver.restore(session, str(tmp_path / "model.ckpt"))
        for got, wanted in zip(session.run(one.weights), found, strict=True):
            np.testing.assert_array_equal(got, wanted)


def alone(optimizer, own):
    """Weights behind the same steps of one process, whose batches hold those of both."""
    model = Model(optimizer)
    with v1.Session(graph=model.graph) as session:
        session.run(model.initialize)
        for pair in zip(*own, strict=True):
            session.run(model.step, model.feed([np.concatenate(columns) for columns in zip(*pair, strict=True)]))
        return session.run(model.weights)
