"""One call with a shared context against the flat way: as many full Examples, each with the user's whole history.

python benchmarks/serving_shared_context.py --folder=OUT [--ids=4500000] [--history=600] [--candidates=500]

Both go through REST to a local server in its own process, on the same model (benchmarks/serving_model.py makes it in
OUT) and with the same raw requests. The ways take turns, a handful of calls each: a service gets calls of one kind, and
one behind a call of the other kind would find the processor's caches full of that one's. The first turn is not timed.
Bodies are made before the clock starts; "with body" includes making them of raw requests, as serving.client does.
Prints p50 and p99 of a call, candidates/s and ratios.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import orjson
import serving_model
from serving_calls import Caller, running_server

from features import names, schema_file
from features.raw_requests import RawRequest
from features.schema import Schema
from serving import call_bodies, raw_examples, saved_model_files
from serving.graph import receivers
from serving.local_server.servable import Servable

SHARED = "shared context"
FLAT = "full Examples"
SIGNATURES = {SHARED: saved_model_files.SHARED_CONTEXT, FLAT: saved_model_files.EXAMPLES}


def rest_ways(caller: Caller, schema: Schema) -> dict:
    """For each way of a call what prepares it (of a raw request) and what is timed; the latter gives the scores."""
    ways = {}
    for name, signature in SIGNATURES.items():
        form = call_bodies.form(signature)

        def body(request, form=form):
            return orjson.dumps(form.body(request, schema))

        def post(made, form=form):
            return form.scores(orjson.loads(caller.post(made)))

        ways[f"REST, {name}"] = (body, post)
        ways[f"REST with body, {name}"] = (lambda request: request, lambda request, b=body, p=post: p(b(request)))
    return ways


def graph_ways(path: str, schema: Schema) -> dict:
    """The same without HTTP and JSON: the graph alone, given tensors."""
    servable = Servable("model", 1, path)
    types = {key: dtype for field in schema.fields for key, dtype in receivers.input_dtypes(field).items()}

    def columns(request):
        inputs = call_bodies.form(saved_model_files.SHARED_CONTEXT).body(request, schema)["inputs"]
        return {key: np.array(value, types[key].as_numpy_dtype) for key, value in inputs.items()}

    def serialized(request):
        return {"examples": np.array(raw_examples.serialized_examples(request, schema), object)}

    def run(signature):
        return lambda tensors: servable.predict(signature, tensors)

    return {
        f"graph, {SHARED}": (columns, run(SIGNATURES[SHARED])),
        f"graph, {FLAT}": (serialized, run(SIGNATURES[FLAT])),
    }


def measure(ways: dict, requests: list[RawRequest], calls: int) -> dict[str, list[float]]:
    """Seconds of each call of each way."""
    prepared = {name: [prepare(request) for request in requests] for name, (prepare, _) in ways.items()}
    # Collections of garbage look at a million objects of TensorFlow, and would be taken for time of a call.
    gc.collect()
    gc.freeze()
    times: dict[str, list[float]] = {name: [] for name in ways}
    expected: list = [None] * len(requests)
    for turn in range(1 + math.ceil(calls / len(requests))):
        for name, (_, call) in ways.items():
            for place, given in enumerate(prepared[name]):
                start = time.perf_counter()
                scores = call(given)
                seconds = time.perf_counter() - start
                found = np.array(scores[names.PCTCVR])
                if expected[place] is None:
                    expected[place] = found
                np.testing.assert_allclose(found, expected[place], atol=1e-6)
                if turn:
                    times[name].append(seconds)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="keeps the model")
    parser.add_argument("--ids", type=int, default=4_500_000)
    parser.add_argument("--history", type=int, default=600, help="history ids of a request")
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument("--calls", type=int, default=100, help="timed calls of each way, at least")
    arguments = parser.parse_args()
    path = serving_model.version_dir(arguments.folder, arguments.ids)
    requests = serving_model.make_requests(arguments.ids, 8, arguments.candidates, arguments.history, seed=1)
    schema = schema_file.load(names.ALICCP)
    with running_server(os.path.dirname(path), "--max_request_bytes=1000000000") as url:
        times = measure(rest_ways(Caller(url), schema), requests, arguments.calls)
    times |= measure(graph_ways(path, schema), requests, arguments.calls)
    for name, found in times.items():
        rate = arguments.candidates / statistics.fmean(found)
        p50, p99 = np.percentile(found, [50, 99]) * 1e3
        print(f"{name:32} p50 {p50:8.2f} ms   p99 {p99:8.2f} ms   {rate:10,.0f} candidates/s")
    for kind in ("REST", "REST with body", "graph"):
        shared, flat = times[f"{kind}, {SHARED}"], times[f"{kind}, {FLAT}"]
        print(
            f"{kind}: {statistics.fmean(flat) / statistics.fmean(shared):.1f} times the candidates/s, "
            f"p50 {statistics.median(shared) / statistics.median(flat):.3f} and "
            f"p99 {np.percentile(shared, 99) / np.percentile(flat, 99):.3f} of the flat way's"
        )


if __name__ == "__main__":
    main()
