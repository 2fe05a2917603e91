"""RunConfig of a run: checkpoints, threads, devices, cluster."""

from __future__ import annotations

import tensorflow as tf
from tensorflow.core.protobuf import rewriter_config_pb2

from model_fn import estimator as tf_estimator
from trainer.cluster import Part
from trainer.options import MIRRORED, Options

_MASTER_ROLES = ("chief", "master")


def make(options: Options, part: Part | None = None) -> tf_estimator.RunConfig:
    """RunConfig of the options.

    Args:
        options: of the run.
        part: of this process in training; None: it evaluates, infers or exports, on its own whatever TF_CONFIG says.
    """
    base = _alone() if part is None or part.is_alone else tf_estimator.RunConfig()
    # In a cluster RunConfig has one, in which a worker does not wait for the others.
    session = base.session_config or _local_session_config()
    session.intra_op_parallelism_threads = options.num_threads
    session.inter_op_parallelism_threads = options.num_threads
    return base.replace(
        model_dir=options.model_dir,
        tf_random_seed=options.seed,
        session_config=session,
        save_checkpoints_secs=options.save_checkpoints_secs,
        keep_checkpoint_max=options.keep_checkpoint_max,
        save_summary_steps=options.log_steps,
        # The progress line tells the speed, and without evaluation.
        log_step_count_steps=None,
        train_distribute=mirrored_strategy() if part is not None and options.distribute == MIRRORED else None,
    )


def _local_session_config() -> tf.compat.v1.ConfigProto:
    config = tf.compat.v1.ConfigProto(allow_soft_placement=True)
    config.graph_options.rewrite_options.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    return config


class _Alone(tf_estimator.RunConfig):
    """A RunConfig that does not look at TF_CONFIG."""

    def _init_distributed_setting_from_environment_var(self, tf_config: dict) -> None:
        del tf_config
        super()._init_distributed_setting_from_environment_var({})


def _alone() -> tf_estimator.RunConfig:
    return _Alone()


def mirrored_strategy() -> tf.distribute.Strategy:
    """A copy of the model on each GPU; without any, on each logical CPU device."""
    gpus = tf.config.list_logical_devices("GPU")
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    # The default reduction hangs between logical CPU devices.
    reduction = None if gpus else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=reduction)


def worker_index(config: tf_estimator.RunConfig) -> int:
    """This process's number among those that train; the chief is 0."""
    if config.task_type in (None, *_MASTER_ROLES) or not config.cluster_spec:
        return 0
    has_chief = any(role in config.cluster_spec.jobs for role in _MASTER_ROLES)
    return int(config.task_id) + has_chief if config.task_type == "worker" else 0
