"""The trial of an export in a process that is forked before TensorFlow has started, in place of a really fresh one.

`serving.check` starts Python anew, whose loading of TensorFlow takes longer than all else of a small export: most
moments would fall into it.
"""

from __future__ import annotations

import os
import socket

from serving import check
from serving.saved_model_files import CheckError


def prepare() -> None:
    """Forks the process and lets `serving.check` ask it. Call it in a process that has done nothing with TensorFlow."""
    ours, its = socket.socketpair()
    if not os.fork():
        ours.close()
        _serve(its)
    its.close()
    check.in_fresh_process = lambda path: _ask(ours, path)


def _ask(connection: socket.socket, path: str) -> str:
    connection.sendall(path.encode())
    answer = connection.recv(1 << 16).decode()
    if not answer.startswith(path):
        raise CheckError(answer or f"{path}: the check was ended")
    return answer


def _serve(connection: socket.socket) -> None:
    """Tries the version whose path it is sent; ends without one when the asking process is gone."""
    if path := connection.recv(1 << 12).decode():
        from serving import trial

        try:
            answer = str(trial.run(path))
        except CheckError as error:
            answer = f"refused: {error}"
        connection.sendall(answer.encode())
    os._exit(0)
