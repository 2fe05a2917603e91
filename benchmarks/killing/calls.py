"""A client of a server that is going to be killed: each answer that it gets must be the right one."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import time
import urllib.error
import urllib.request

from features import names, schema_file
from features.raw_requests import RawRequest
from serving import call_bodies, saved_model_files
from serving.saved_model_files import SHARED_CONTEXT


def is_available(url: str) -> bool:
    """Whether the server of a model answers that it has it."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url) as answer:
        return json.load(answer)["model_version_status"][0]["state"] == "AVAILABLE"
    return False


def until_it_is_gone(pid: int, url: str, version: str) -> int:
    """Asks for the scores of a version's sample request again and again.

    Args:
        pid: of the server; ends with it.
        url: of the model.
        version: folder of the version that is served.

    Returns:
        The number of answers.

    Raises:
        RuntimeError: one was not the checkpoint's scores, nor that the model is not there yet.
    """
    with open(saved_model_files.extra_file(version, saved_model_files.SAMPLE_FILE), encoding="utf-8") as file:
        sample = json.load(file)
    schema_path = saved_model_files.extra_file(version, names.SCHEMA_FILE)
    with open(schema_path, encoding="utf-8") as file:
        schema = schema_file.parse(file.read(), schema_path)
    form = call_bodies.form(SHARED_CONTEXT)
    body = json.dumps(form.body(RawRequest(**sample["request"]), schema)).encode()
    answers = 0
    while _runs(pid):
        if (answer := _answer(f"{url}:{form.method}", body)) is None:
            time.sleep(0.01)
            continue
        _refuse_other(form.scores(json.loads(answer)), sample["scores"])
        answers += 1
    return answers


def _answer(url: str, body: bytes) -> bytes | None:
    """None where there is none: the server is starting, or was killed before it had sent all."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body)) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        if error.code not in (http.client.NOT_FOUND, http.client.SERVICE_UNAVAILABLE):
            raise RuntimeError(f"status {error.code}: {error.read()!r}") from error
    except (OSError, http.client.HTTPException):
        pass
    return None


def _refuse_other(found: dict, wanted: dict) -> None:
    for name in names.SCORES:
        pairs = zip(found[name], wanted[name], strict=True)
        if not all(math.isclose(one, other, abs_tol=1e-6) for one, other in pairs):
            raise RuntimeError(f"{name}: {found[name]} instead of {wanted[name]}")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
