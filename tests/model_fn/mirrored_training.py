"""Trains on two logical CPU devices; run as a process of its own, which has not used TensorFlow yet."""

import sys

import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from model_batches import SCHEMA, VOCABULARY_SIZE, input_fn, requests, small  # noqa: E402

from model_fn import estimator as tf_estimator  # noqa: E402
from model_fn import lookup  # noqa: E402
from model_fn.estimator_model import model_fn  # noqa: E402


def training_input(log, settings, epochs=1):
    """Batches with their lookup, as the trainer makes them."""

    def prepare(features, labels):
        return lookup.in_place_of_fields(features, SCHEMA, settings.combiner), labels

    return lambda: input_fn(log, batch=12, epochs=epochs)().map(prepare)


def main(model_dir: str) -> None:
    strategy = tf.distribute.MirroredStrategy(
        ["/cpu:0", "/cpu:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
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
    print(first, last, counted, sum(len(request.sample_id) for request in log))


if __name__ == "__main__":
    main(*sys.argv[1:])
