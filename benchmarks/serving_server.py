"""The local server's time for a call, JSON and HTTP included, against the same call in process.

python benchmarks/serving_server.py --export_dir=E [--calls=200]

E is the base folder of any exported model (benchmarks/serving_model.py makes one of Ali-CCP's size); the call is the
one of its warm-up. Calls of all ways take turns, so that a busy machine slows them alike. Prints medians and ratios.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import orjson
import tensorflow as tf
from serving_calls import Caller, running_server, warmup_tensors

from serving import saved_model_files
from serving.local_server import predict_json
from serving.local_server.servable import Servable


def in_process_ways(path: str, tensors: dict[str, np.ndarray], body: bytes) -> dict:
    """What to time, by name; each takes nothing and returns the scores."""
    servable = Servable("model", 1, path)
    function = tf.saved_model.load(path).signatures[saved_model_files.SHARED_CONTEXT]
    signature = saved_model_files.SHARED_CONTEXT

    def parse():
        return predict_json.parse_predict(body, servable.input_types)

    outputs = servable.predict(signature, tensors)
    return {
        "in process, Session": lambda: servable.predict(signature, tensors),
        "in process, tf.saved_model.load": lambda: {
            name: value.numpy() for name, value in function(**{k: tf.constant(v) for k, v in tensors.items()}).items()
        },
        "  part: body to tensors": parse,
        "  part: scores to answer": lambda: predict_json.predict_answer(outputs, by_row=False),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export_dir", required=True, help="base folder of an exported model")
    parser.add_argument("--calls", type=int, default=200, help="timed calls of each way")
    arguments = parser.parse_args()
    path = os.path.join(arguments.export_dir, str(saved_model_files.versions(arguments.export_dir)[-1]))
    tensors = warmup_tensors(path)
    body = orjson.dumps({"inputs": {name: array.tolist() for name, array in tensors.items()}})
    with running_server(arguments.export_dir) as url:
        caller = Caller(url)
        ways = {"server": lambda: orjson.loads(caller.post(body)), **in_process_ways(path, tensors, body)}
        gc.freeze()  # as the server does: else a collection of garbage now and then takes a quarter of a second
        times: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(arguments.calls + 10):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                if turn >= 10:
                    times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(found) * 1e3 for name, found in times.items()}
    count = len(next(array for array in tensors.values() if array.ndim == 2))
    print(f"{count} candidates, body of {len(body)} bytes, {arguments.calls} calls each")
    for name, median in medians.items():
        print(f"{name:32} p50 {median:8.2f} ms   p99 {np.percentile(times[name], 99) * 1e3:8.2f} ms")
    for name in ("in process, Session", "in process, tf.saved_model.load"):
        print(f"server / {name}: {medians['server'] / medians[name]:.2f}")


if __name__ == "__main__":
    main()
