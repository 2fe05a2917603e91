"""What the benchmarks of the server share: a server in its own process, and calls made of a model's warm-up."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import urllib.parse

import numpy as np

from serving import saved_model_files, warm_up

MODEL_NAME = "model"
PREDICT_PATH = f"/v1/models/{MODEL_NAME}:predict"


def warmup_tensors(path: str) -> dict[str, np.ndarray]:
    """Inputs of the warm-up call of `serving_default`."""
    for call in warm_up.calls(path):
        if warm_up.is_columnar(call):
            return call.inputs
    raise SystemExit(f"{path}: no warm-up call of {saved_model_files.SHARED_CONTEXT}; export with sample requests")


@contextlib.contextmanager
def running_server(base_path: str, *flags: str):
    """URL of a local server of the model."""
    command = [sys.executable, "-m", "serving", f"--model_base_path={base_path}", f"--model_name={MODEL_NAME}"]
    process = subprocess.Popen(
        [*command, "--rest_api_port=0", *flags], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process.stdout.readline().split()[2].rstrip(";")
    finally:
        process.terminate()
        process.wait()


class Caller:
    """One connection that stays open."""

    def __init__(self, url: str) -> None:
        address = urllib.parse.urlsplit(url)
        self._connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self, body: bytes) -> bytes:
        """Answer of a predict call; raises for any status but 200."""
        self._connection.request("POST", PREDICT_PATH, body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != http.client.OK:
            raise RuntimeError(f"status {response.status}: {answer[:200]!r}")
        return answer
