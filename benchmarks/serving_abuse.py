"""What a local server bears that is not meant well: malformed calls, reloads, connections; what it holds after each.

python benchmarks/serving_abuse.py --export_dir=E [--calls=100000] [--reloads=20] [--connections=10000]

E is the base folder of any exported model (benchmarks/serving_model.py makes one of Ali-CCP's size). Malformed calls
are its warm-up's with some bytes cut out, doubled or replaced, under right and wrong methods, headers and paths; behind
each thousand comes a good one. Connections are opened at once, say nothing, and are closed. Ends with status 1 where a
good call is answered otherwise than at the start, or a bad one with a fault of the server (5xx).
"""

from __future__ import annotations

import argparse
import collections
import gzip
import http.client
import os
import resource
import socket
import tempfile
import threading
import time
import urllib.parse

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import orjson
import psutil
from serving_calls import MODEL_NAME, PREDICT_PATH, Caller, running_server, warmup_tensors
from serving_load import publish

from serving import saved_model_files

THREADS = 4
ROUNDS = 5
VALUES = 4
PIECES = (b"", b"[", b"]", b"{", b'"', b",", b"-1", b"1e999", b"NaN", b"null", b"true", b"\xff", b"\\ud800", b"9" * 25)
METHODS = ("POST",) * 12 + ("GET", "HEAD", "PUT", "TRACE", "FOO")
PATHS = (PREDICT_PATH,) * 8 + (
    f"/v1/models/{MODEL_NAME}:classify",
    "/v1/models/x:predict",
    "/v1/../x",
    PREDICT_PATH + "?x",
)
HEADERS = ({},) * 4 + ({"Content-Encoding": "gzip"}, {"Content-Encoding": "br"}, {"Content-Type": "text/x"})


def small_body(path: str) -> bytes:
    """A call of some values a field."""
    tensors = warmup_tensors(path)
    return orjson.dumps({"inputs": {name: array[:VALUES].tolist() for name, array in tensors.items()}})


def spoilt(body: bytes, rng: np.random.Generator) -> bytes:
    """The body with up to three places changed."""
    changed = bytearray(body)
    for _ in range(rng.integers(1, 4)):
        begin = int(rng.integers(0, len(changed)))
        changed[begin : begin + int(rng.integers(0, 9))] = PIECES[rng.integers(len(PIECES))]
    return bytes(changed)


class Server:
    """The server, how it answers the good call at the start, and what it holds."""

    def __init__(self, url: str, body: bytes) -> None:
        self.url = url
        self.address = urllib.parse.urlsplit(url)
        self.body = body
        self.process = psutil.Process().children()[-1]
        self.expected = Caller(url).post(body)

    def require_right(self) -> None:
        """A good call on a new connection is answered as at the start."""
        if Caller(self.url).post(self.body) != self.expected:
            raise SystemExit("a good call is answered otherwise than at the start")

    def tell(self, phase: str, seconds: float, more: str) -> None:
        """Prints what the server holds."""
        self.require_right()
        memory = self.process.memory_info().rss / 1e6
        print(
            f"{phase:28} {seconds:7.1f} s  {memory:7.0f} MB  {self.process.num_fds():5} descriptors  "
            f"{self.process.num_threads():3} threads  {more}",
            flush=True,
        )


def malformed_calls(server: Server, count: int, first_seed: int) -> collections.Counter[int]:
    """Statuses of so many calls; 0 is a connection that was closed without an answer."""
    found: collections.Counter[int] = collections.Counter()
    lock = threading.Lock()

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        statuses: collections.Counter[int] = collections.Counter()
        connection = http.client.HTTPConnection(server.address.hostname, server.address.port, timeout=60)
        for number in range(count // THREADS):
            statuses[_status(connection, spoilt(server.body, rng), rng)] += 1
            if number % 1000 == 0:
                server.require_right()
        with lock:
            found.update(statuses)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(first_seed, first_seed + THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _status(connection: http.client.HTTPConnection, body: bytes, rng: np.random.Generator) -> int:
    headers = HEADERS[rng.integers(len(HEADERS))]
    if headers.get("Content-Encoding") == "gzip" and rng.random() < 0.5:
        body = gzip.compress(body, 1)
    try:
        connection.request(METHODS[rng.integers(len(METHODS))], PATHS[rng.integers(len(PATHS))], body, headers)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return 0
    return response.status


def reload_versions(server: Server, source: str, base: str, count: int) -> list[float]:
    """Makes the model appear as so many new versions, one after the other; returns MB of the server after each."""
    memory = []
    for version in range(2, 2 + count):
        publish(source, base, version)
        while _states(server) != {str(version): "AVAILABLE"} | {str(old): "END" for old in range(1, version)}:
            time.sleep(0.05)
        memory.append(server.process.memory_info().rss / 1e6)
    return memory


def _states(server: Server) -> dict[str, str]:
    connection = http.client.HTTPConnection(server.address.hostname, server.address.port, timeout=60)
    connection.request("GET", f"/v1/models/{MODEL_NAME}")
    found = orjson.loads(connection.getresponse().read())["model_version_status"]
    connection.close()
    return {one["version"]: one["state"] for one in found}


def many_connections(server: Server, count: int) -> str:
    """Opens so many connections that say nothing, looks at the server, and closes them."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count = min(count, hard - 100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    first = Caller(server.url)
    connections = [socket.create_connection((server.address.hostname, server.address.port)) for _ in range(count)]
    time.sleep(2)
    held, before = server.process.num_fds(), server.process.cpu_times()
    if first.post(server.body) != server.expected:
        raise SystemExit("a connection from before is answered otherwise")
    time.sleep(2)
    after = server.process.cpu_times()
    for connection in connections:
        connection.close()
    time.sleep(2)
    busy = after.user + after.system - before.user - before.system
    return f"{count} opened, {held} descriptors meanwhile; {busy:.2f} s of CPU in 2 s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export_dir", required=True, help="base folder of an exported model")
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--reloads", type=int, default=20)
    parser.add_argument("--connections", type=int, default=10_000)
    arguments = parser.parse_args()
    source = os.path.join(arguments.export_dir, str(saved_model_files.versions(arguments.export_dir)[-1]))
    body = small_body(source)
    # Beside the model, so that versions are links and not copies.
    with tempfile.TemporaryDirectory(dir=arguments.export_dir, prefix="abuse-test-") as base:
        publish(source, base, 1)
        with running_server(base, "--file_system_poll_wait_seconds=0.1") as url:
            server = Server(url, body)
            server.tell("at the start", 0.0, "")
            start = time.perf_counter()
            memory = reload_versions(server, source, base, arguments.reloads)
            told = "MB: " + " ".join(f"{value:.0f}" for value in memory)
            server.tell(f"{arguments.reloads} reloads", time.perf_counter() - start, told)
            start = time.perf_counter()
            told = many_connections(server, arguments.connections)
            server.tell(f"{arguments.connections:,} connections", time.perf_counter() - start, told)
            statuses: collections.Counter[int] = collections.Counter()
            for number in range(ROUNDS):
                start = time.perf_counter()
                statuses += malformed_calls(server, arguments.calls // ROUNDS, number * THREADS)
                told = ", ".join(f"{count} of {status}" for status, count in sorted(statuses.items()))
                server.tell(f"{statuses.total():,} malformed calls", time.perf_counter() - start, told)
    if faults := {status: count for status, count in statuses.items() if status >= 500 and status != 501}:
        raise SystemExit(f"bad calls were answered with faults of the server: {faults}")


if __name__ == "__main__":
    main()
