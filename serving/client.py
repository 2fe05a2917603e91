"""Client of the REST API, of TensorFlow Serving and of the local server alike: raw requests in, scores out.

client = ScoringClient("http://127.0.0.1:8501", "esmm", schema)
for scored in client.score_all(raw_requests.read(...)):
    print(scored.request.sample_ids, scored.scores[names.PCTCVR])
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import http.client
import json
import random
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from features import names
from features.raw_requests import RawRequest
from features.schema import NUMBER, VECTOR, Schema
from serving import call_bodies
from serving.call_bodies import Scores
from serving.saved_model_files import SHARED_CONTEXT

# Answers that another attempt may turn into scores: the server is starting, busy, or being replaced.
RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


class ScoringError(Exception):
    """A request that got no scores. The message names the sample ids and what the server said."""


@dataclasses.dataclass(frozen=True)
class ClientOptions:
    """How to call.

    Attributes:
        signature: of the model: `serving_default`, `examples` or `classification`.
        version: number of a version; None: the server's newest.
        concurrency: calls under way at the same time, each on a connection of its own.
        timeout_seconds: for connecting and for an answer.
        attempts: how often a call is tried.
        backoff_seconds: wait before the second attempt; doubles for each further one, up to `max_backoff_seconds`.
        max_backoff_seconds: longest wait.
    """

    signature: str = SHARED_CONTEXT
    version: int | None = None
    concurrency: int = 4
    timeout_seconds: float = 30.0
    attempts: int = 6
    backoff_seconds: float = 0.1
    max_backoff_seconds: float = 5.0


@dataclasses.dataclass(frozen=True)
class Scored:
    """A request and, for each name of `names.SCORES`, the scores of its impressions."""

    request: RawRequest
    scores: Scores


class ScoringClient:
    """Scores raw requests. Any thread may call; each has a connection that stays open."""

    def __init__(self, url: str, model_name: str, schema: Schema, options: ClientOptions | None = None) -> None:
        """Makes no connection yet.

        Args:
            url: scheme, host and port, such as http://127.0.0.1:8501; a path before /v1 is kept.
            model_name: as the server calls it.
            schema: of the requests.
            options: how to call.

        Raises:
            ValueError: no such URL, or no such signature.
        """
        self._options = options or ClientOptions()
        self._schema = schema
        self._form = call_bodies.form(self._options.signature)
        self._server = _parse_url(url)
        version = "" if self._options.version is None else f"/versions/{self._options.version}"
        model = urllib.parse.quote(model_name, safe="")
        self._path = f"{self._server.path.rstrip('/')}/v1/models/{model}{version}:{self._form.method}"
        self._local = threading.local()
        # JSON has no NaN; both servers take the word, and the standard library writes it. orjson is faster without.
        has_numbers = any(field.type in (NUMBER, VECTOR) for field in schema.fields)
        self._encode = _encode_with_nan if has_numbers else orjson.dumps

    def score(self, request: RawRequest) -> Scores:
        """Scores of a request's impressions, in their order.

        Raises:
            ScoringError: the server refused the call, or did not answer it in any attempt.
        """
        body = self._encode(self._form.body(request, self._schema))
        try:
            scores = self._form.scores(json.loads(self._answer(body)))
        except _CallError as error:
            raise ScoringError(f"{_sample_text(request)}: {error}") from error
        except (ValueError, LookupError, TypeError) as error:
            raise ScoringError(f"{_sample_text(request)}: the answer holds no scores: {error!r}") from error
        for name in names.SCORES:
            if len(scores[name]) != len(request.sample_ids):
                problem = f"{len(scores[name])} values of {name} for {len(request.sample_ids)} impressions"
                raise ScoringError(f"{_sample_text(request)}: {problem}")
        return scores

    def score_all(self, requests: Iterable[RawRequest]) -> Iterator[Scored]:
        """Scores requests, several at a time, and gives them back in their order.

        Reads ahead of what it gave back by twice the concurrency, so memory does not grow with the number of requests.

        Raises:
            ScoringError: as `score`, for the first request that fails.
        """
        waiting: collections.deque[tuple[RawRequest, concurrent.futures.Future[Scores]]] = collections.deque()
        with concurrent.futures.ThreadPoolExecutor(self._options.concurrency) as pool:
            try:
                for request in requests:
                    waiting.append((request, pool.submit(self.score, request)))
                    if len(waiting) > 2 * self._options.concurrency:
                        yield _scored(*waiting.popleft())
                while waiting:
                    yield _scored(*waiting.popleft())
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self, body: bytes) -> bytes:
        """Answer of status 200. Raises _CallError."""
        problem = ""
        for attempt in range(self._options.attempts):
            if attempt:
                time.sleep(self._backoff(attempt))
            try:
                status, answer = self._post(body)
            except (OSError, http.client.HTTPException) as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if status == http.client.OK:
                return answer
            problem = f"HTTP status {status}: {_error_text(answer)}"
            if status not in RETRIED_STATUSES:
                raise _CallError(f"{self._address}: {problem}")
        raise _CallError(f"{self._address}: no scores in {self._options.attempts} attempts; the last: {problem}")

    def _post(self, body: bytes) -> tuple[int, bytes]:
        connection = self._connection()
        try:
            connection.request("POST", self._path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        except BaseException:
            # A connection on which something went wrong may still get the old answer: never use it again.
            self._local.connection = None
            connection.close()
            raise

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            kind = http.client.HTTPSConnection if self._server.scheme == "https" else http.client.HTTPConnection
            connection = kind(str(self._server.hostname), self._server.port, timeout=self._options.timeout_seconds)
            connection.connect()
            # Header and body are two writes; without this the second waits for the receipt of the first.
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._local.connection = connection
        return connection

    def _backoff(self, attempt: int) -> float:
        """Seconds before an attempt: doubled each time, by chance up to half less so that clients do not keep step."""
        longest = min(self._options.backoff_seconds * 2 ** (attempt - 1), self._options.max_backoff_seconds)
        return longest * random.uniform(0.5, 1)

    @property
    def _address(self) -> str:
        return f"{self._server.scheme}://{self._server.netloc}{self._path}"


class _CallError(Exception):
    pass


def _parse_url(url: str) -> urllib.parse.SplitResult:
    server = urllib.parse.urlsplit(url)
    if server.scheme not in ("http", "https") or not server.hostname:
        raise ValueError(f"server {url!r}: a URL such as http://127.0.0.1:8501 is needed")
    return server


def _scored(request: RawRequest, future: concurrent.futures.Future[Scores]) -> Scored:
    return Scored(request, future.result())


def _encode_with_nan(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _error_text(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["error"])
    except (ValueError, LookupError, TypeError):
        return answer[:200].decode("utf-8", "replace")


def _sample_text(request: RawRequest) -> str:
    ids = request.sample_ids
    others = f" and {len(ids) - 1} more of its request" if len(ids) > 1 else ""
    return f"sample_id {ids[0]}{others}"
