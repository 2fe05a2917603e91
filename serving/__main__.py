"""Command: python -m serving --model_base_path=E --model_name=esmm --rest_api_port=8501.

A local server with the URLs, the JSON and the flag names of TensorFlow Serving, to try a model out and to test on a
machine without TensorFlow Serving. In production use TensorFlow Serving itself.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import signal
import sys
import threading

from absl import app, flags, logging
from aiohttp import web

from model_fn import quiet_tensorflow

# It would greet with ten lines about its build. Its errors come as exceptions too.
quiet_tensorflow.import_quietly()

import tensorflow as tf

from serving.local_server.http_app import TRY_PATH, HttpApp, Limits
from serving.local_server.metrics import Metrics
from serving.local_server.model_config import (
    DEFAULT_MONITORING_PATH,
    ConfigError,
    ModelConfig,
    read_models,
    read_monitoring_path,
)
from serving.local_server.models import Models
from serving.local_server.rest_api import RestApi
from serving.local_server.servable import Servable
from serving.local_server.try_page import TryPage

FLAGS = flags.FLAGS

flags.DEFINE_string("model_name", "default", "Name of the model in URLs.")
flags.DEFINE_string("model_base_path", None, "Folder of the model's numbered version folders.")
flags.DEFINE_string("model_config_file", None, "Models, versions and labels (ModelServerConfig) instead of one model.")
flags.DEFINE_integer("rest_api_port", 8501, "Port; 0 takes a free one and says which.", 0, 65535)
flags.DEFINE_string("rest_api_host", "127.0.0.1", "Address to listen at; 0.0.0.0 lets other machines in.")
flags.DEFINE_integer("rest_api_num_threads", 4, "Calls worked on at the same time.", 1)
flags.DEFINE_integer("rest_api_timeout_in_ms", 30_000, "Time for a call: to arrive, and to be answered.", 1)
flags.DEFINE_float(
    "file_system_poll_wait_seconds", 1.0, "Between two looks for new versions; 0: only one at the start."
)
flags.DEFINE_string("monitoring_config_file", None, "Where metrics are found (MonitoringConfig).")
flags.DEFINE_integer("max_request_bytes", 64 << 20, "Size of a body; larger ones are answered with 413.", 1)
flags.DEFINE_integer("max_queued_calls", 256, "Calls that may wait; more are answered with 503.", 1)

DRAIN_SECONDS = 30.0


def model_configs() -> list[ModelConfig]:
    """The models that the flags name. Raises ConfigError."""
    if bool(FLAGS.model_base_path) == bool(FLAGS.model_config_file):
        raise ConfigError("give either --model_base_path (one model) or --model_config_file")
    if FLAGS.model_config_file:
        configs = read_models(FLAGS.model_config_file)
    else:
        configs = [ModelConfig(FLAGS.model_name, FLAGS.model_base_path)]
    for config in configs:
        if not os.path.isdir(config.base_path):
            raise ConfigError(f"model {config.name}: no folder {config.base_path}; export a model to it first")
    return configs


def make_application(models: Models, metrics: Metrics) -> web.Application:
    """The application that the flags ask for."""
    path = FLAGS.monitoring_config_file
    limits = Limits(
        threads=FLAGS.rest_api_num_threads,
        queued_calls=FLAGS.max_queued_calls,
        request_bytes=FLAGS.max_request_bytes,
        timeout_seconds=FLAGS.rest_api_timeout_in_ms / 1000,
    )
    monitoring_path = read_monitoring_path(path) if path else DEFAULT_MONITORING_PATH
    return HttpApp(RestApi(models, metrics), metrics, TryPage(models), limits, monitoring_path).application()


async def serve(application: web.Application, host: str, port: int) -> None:
    """Listens until SIGTERM or SIGINT; then takes no more calls and ends when the last one is answered."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=DRAIN_SECONDS)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    host, port = runner.addresses[0][:2]
    print(f"Serving at http://{host}:{port}; try it at http://{host}:{port}{TRY_PATH}")
    print("This server is for trying out and for tests. In production use TensorFlow Serving.", flush=True)
    await stop.wait()
    logging.info("Stopping: the calls under way are answered first")
    await runner.cleanup()


def run(argv: list[str]) -> None:
    """Loads the models, then serves them."""
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag: flags are of the form --name=value")
    # Parsing JSON holds the interpreter's lock; the event loop should not wait the usual 5 ms for its turn.
    sys.setswitchinterval(0.0005)
    try:
        metrics = Metrics()
        load = functools.partial(Servable, timeout_ms=FLAGS.rest_api_timeout_in_ms)
        models = Models(model_configs(), metrics, load)
        application = make_application(models, metrics)
        models.poll()
        # A collection of garbage looks at every object, and TensorFlow leaves a million: a quarter of a second in the
        # middle of a call. Those live as long as the process, so it need not look at them; and a body makes some ten
        # thousand lists, which the usual threshold of 700 would take for a reason to look around.
        gc.freeze()
        gc.set_threshold(100_000)
        if FLAGS.file_system_poll_wait_seconds > 0:
            seconds = FLAGS.file_system_poll_wait_seconds
            threading.Thread(target=models.poll_every, args=(seconds,), name="poll", daemon=True).start()
        asyncio.run(serve(application, FLAGS.rest_api_host, FLAGS.rest_api_port))
    except (ConfigError, OSError) as error:
        sys.exit(f"serving: {error}")
    models.stop()


def main() -> None:
    """Entry point of the console command."""
    logging.set_verbosity(logging.INFO)
    tf.get_logger().setLevel("ERROR")
    app.run(run)


if __name__ == "__main__":
    main()
