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
import socket
import sys
import threading

from absl import app, flags, logging

import storage
from model_fn import quiet_tensorflow

# Until calls are served, Ctrl-C ends the process as SIGTERM does: to import TensorFlow and to load a model takes long.
signal.signal(signal.SIGINT, signal.SIG_DFL)

# It would greet with ten lines about its build. Its errors come as exceptions too.
quiet_tensorflow.import_quietly()

import tensorflow as tf

from serving.local_server.connections import Listener, bound_socket
from serving.local_server.http_app import TRY_PATH, HttpApp, Limits
from serving.local_server.metrics import Metrics
from serving.local_server.model_config import (
    DEFAULT_MONITORING_PATH,
    ConfigError,
    ModelConfig,
    read_models,
    read_monitoring_path,
)
from serving.local_server.models import Models, require_base_path
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
flags.DEFINE_integer("max_request_bytes", 16 << 20, "Size of a body; larger ones are answered with 413.", 1)
flags.DEFINE_integer("max_queued_calls", 256, "Calls that may wait; more are answered with 503.", 1)

# How long calls under way may take after SIGTERM, and a connection may be without a call.
DRAIN_SECONDS = 30.0
IDLE_SECONDS = 75.0
LOADING_NICENESS = 19


def model_configs() -> list[ModelConfig]:
    """The models that the flags name. Raises ConfigError."""
    if bool(FLAGS.model_base_path) == bool(FLAGS.model_config_file):
        raise ConfigError("give either --model_base_path (one model) or --model_config_file")
    if FLAGS.model_config_file:
        configs = read_models(FLAGS.model_config_file)
    else:
        configs = [ModelConfig(FLAGS.model_name, FLAGS.model_base_path)]
    for config in configs:
        require_base_path(config)
    return configs


def make_app(models: Models, metrics: Metrics) -> HttpApp:
    """The application that the flags ask for."""
    path = FLAGS.monitoring_config_file
    limits = Limits(
        threads=FLAGS.rest_api_num_threads,
        queued_calls=FLAGS.max_queued_calls,
        request_bytes=FLAGS.max_request_bytes,
        bytes_in_flight=4 * FLAGS.max_request_bytes,
        timeout_seconds=FLAGS.rest_api_timeout_in_ms / 1000,
    )
    monitoring_path = read_monitoring_path(path) if path else DEFAULT_MONITORING_PATH
    return HttpApp(RestApi(models, metrics), metrics, TryPage(models), limits, monitoring_path)


def tell_address(sock: socket.socket) -> None:
    """Says where calls are taken."""
    host, port = sock.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    print(f"Serving at {url}; try it at {url}{TRY_PATH}")
    print("This server is for trying out and for tests. In production use TensorFlow Serving.", flush=True)


def poll(models: Models, seconds: float) -> None:
    """Looks for new versions again and again, at a priority that leaves the cores to calls."""
    if hasattr(os, "setpriority") and sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOADING_NICENESS)
    models.poll_every(seconds)


def run(argv: list[str]) -> None:
    """Loads the models, then serves them."""
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag: flags are of the form --name=value")
    # Parsing JSON holds the interpreter's lock; the event loop should not wait the usual 5 ms for its turn.
    sys.setswitchinterval(0.0005)
    try:
        # Bound first: that a port is taken must not be found out after minutes of loading.
        sock = bound_socket(FLAGS.rest_api_host, FLAGS.rest_api_port)
        metrics = Metrics()
        load = functools.partial(Servable, timeout_ms=FLAGS.rest_api_timeout_in_ms)
        models = Models(model_configs(), metrics, load)
        app_ = make_app(models, metrics)
        # A collection of garbage looks at every object, and TensorFlow has a million: a quarter of a second in the
        # middle of a call. They live as long as the process, so it need not look at them; what is loaded is looked at,
        # or a closed version would stay. A body makes some ten thousand lists, which the usual threshold of 700 would
        # take for a reason to look around.
        gc.collect()
        gc.freeze()
        gc.set_threshold(100_000)
        models.poll()
        seconds = FLAGS.file_system_poll_wait_seconds
        if seconds > 0:
            threading.Thread(target=poll, args=(models, seconds), name="poll", daemon=True).start()
        listener = Listener(sock, IDLE_SECONDS)
        asyncio.run(listener.serve(app_.application(), functools.partial(tell_address, sock), DRAIN_SECONDS))
        app_.close()
    except (ConfigError, OSError) as error:
        sys.exit(f"serving: {storage.told(error)}")
    models.stop()
    leave()


def leave() -> None:
    """Ends the process as it stands: every call is answered, and nothing is to be saved.

    A version may be loading or closing on the thread of `poll`. The interpreter's own end takes its modules away from
    under such a thread while it is in TensorFlow, which then ends the process with a signal now and then.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def main() -> None:
    """Entry point of the console command."""
    logging.set_verbosity(logging.INFO)
    tf.get_logger().setLevel("ERROR")
    app.run(run)


if __name__ == "__main__":
    main()
