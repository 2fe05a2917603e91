"""Trains on two logical CPU devices; run as a process of its own, which has not used TensorFlow yet."""

import sys

import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from model_batches import SCHEMA, VOCABULARY_SIZE, input_fn, requests, small  # noqa: E402

from model_fn import estimator as tf_estimator  # noqa: E402
from model_fn import lookup, optimizers  # noqa: E402
from model_fn.estimator_model import model_fn  # noqa: E402


def training_input(log, settings, epochs=1):
    """Batches with their lookup, as the trainer makes them."""

    def prepare(features, labels):
        return lookup.in_place_of_fields(features, SCHEMA, settings.combiner), labels

    return lambda: input_fn(log, batch=12, epochs=epochs)().map(prepare)


def clipped_norm(strategy: tf.distribute.Strategy, largest: float) -> float:
    """Norm of what two replicas' gradients are together behind the clipping; one has the other's last row as well."""

    def step() -> tuple[tf.Tensor, tf.Tensor]:
        number = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32)
        table = tf.compat.v1.get_variable("table", [4, 2], use_resource=True)
        bias = tf.compat.v1.get_variable("bias", [3], use_resource=True)
        rows = tf.cast(tf.stack([number, number + 1.0]), tf.int64)
        pairs = [(tf.IndexedSlices(tf.ones([2, 2]) + number, rows), table), (tf.fill([3], 5.0 - 9.0 * number), bias)]
        (sparse, _), (dense, _) = optimizers.clip(pairs, largest)
        return tf.scatter_nd(sparse.indices[:, tf.newaxis], sparse.values, tf.constant([4, 2], tf.int64)), dense

    with tf.Graph().as_default(), strategy.scope():
        parts = strategy.extended.call_for_each_replica(step)
        norm = tf.linalg.global_norm([tf.add_n(strategy.experimental_local_results(part)) for part in parts])
        with tf.compat.v1.Session() as session:
            return float(session.run(norm))


def main(model_dir: str) -> None:
    strategy = tf.distribute.MirroredStrategy(
        ["/cpu:0", "/cpu:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
    clipped = clipped_norm(strategy, 0.5), clipped_norm(strategy, 100.0)
    settings = small(
        model="escm2_dr",
        learning_rate=0.02,
        batch_norm=True,
        embedding_l2_reg=1e-4,
        l2_reg=1e-4,
    )
    params = {"schema": SCHEMA, "vocabulary_size": VOCABULARY_SIZE, "hyperparameters": settings}
    config = tf_estimator.RunConfig(tf_random_seed=1, train_distribute=strategy)
    estimator = tf_estimator.Estimator(model_fn, model_dir, config, params)
    log = requests(24, seed=1)
    estimator.train(training_input(log, settings))
    first = estimator.evaluate(input_fn(log))["loss"]
    estimator.train(training_input(log, settings, epochs=10))
    last = estimator.evaluate(input_fn(log))["loss"]
    counted = estimator.get_variable_value("propensity/impressions")
    print(*clipped, first, last, counted, sum(len(request.sample_id) for request in log))


if __name__ == "__main__":
    main(*sys.argv[1:])
