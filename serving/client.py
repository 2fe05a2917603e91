"""Client of TensorFlow Serving and of the local server: raw requests in, scores out.

client = ScoringClient("http://127.0.0.1:8501", "esmm", schema)
for scored in client.score_all(requests):
    print(scored.request.sample_ids, scored.scores[names.PCTCVR], scored.version)
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from features.raw_requests import RawRequest
from features.schema import Schema
from model_fn import quiet_tensorflow
from serving.answers import Answer, CallError, Scores
from serving.patience import Patience
from serving.rest_caller import RestCaller
from serving.saved_model_files import SHARED_CONTEXT

REST = "rest"
GRPC = "grpc"
PROTOCOLS = (REST, GRPC)
_WAKE_SECONDS = 0.5


class ScoringError(Exception):
    """A request that got no scores. The message names the sample ids and what the server said."""


@dataclasses.dataclass(frozen=True)
class ClientOptions:
    """How to call.

    Attributes:
        protocol: one of `PROTOCOLS`.
        signature: of the model: `serving_default`, `examples` or `classification`.
        version: number of a version; None: the server's newest, as long as it has it.
        concurrency: calls under way at the same time.
        timeout_seconds: for an attempt of a call, from connecting to the last byte of the answer.
        patience: when to try again.
    """

    protocol: str = REST
    signature: str = SHARED_CONTEXT
    version: int | None = None
    concurrency: int = 4
    timeout_seconds: float = 30.0
    patience: Patience = dataclasses.field(default_factory=Patience)


@dataclasses.dataclass(frozen=True)
class Scored:
    """A request; for each name of `names.SCORES` the scores of its impressions; the version that gave them."""

    request: RawRequest
    scores: Scores
    version: int | None


class _Caller(Protocol):
    @property
    def address(self) -> str: ...

    def call(self, request: RawRequest, seconds: float) -> Answer: ...


class ScoringClient:
    """Scores raw requests. Any thread may call."""

    def __init__(self, url: str, model_name: str, schema: Schema, options: ClientOptions | None = None) -> None:
        """Makes no connection yet.

        Args:
            url: of the server, such as http://127.0.0.1:8501, or grpc://127.0.0.1:8500.
            model_name: as the server calls it.
            schema: of the requests.
            options: how to call.

        Raises:
            ValueError: no such URL, protocol or signature.
        """
        self._options = options or ClientOptions()
        make = _caller_class(self._options.protocol)
        self._caller: _Caller = make(url, model_name, self._options.version, self._options.signature, schema)

    def score(self, request: RawRequest) -> Scores:
        """Scores of a request's impressions, in their order.

        Raises:
            ScoringError: the server refused the call, answered it with no scores, or was away for too long.
        """
        return self._score(request, threading.Event()).scores

    def score_all(self, requests: Iterable[RawRequest]) -> Iterator[Scored]:
        """Scores requests, several at a time, and gives them back in their order.

        Reads ahead of what it gave back by twice the concurrency, so memory does not grow with the number of requests.
        One that gets no scores ends all others at once; what was scored before it in order is given back first.

        Raises:
            ScoringError: as `score`, for the first request that fails.
        """
        stop = threading.Event()
        pool = concurrent.futures.ThreadPoolExecutor(self._options.concurrency)
        waiting = _InOrder()
        try:
            for request in requests:
                waiting.add(pool.submit(self._score, request, stop))
                if len(waiting) > 2 * self._options.concurrency:
                    yield from waiting.first()
            while len(waiting):
                yield from waiting.first()
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _score(self, request: RawRequest, stop: threading.Event) -> Scored:
        try:
            found = self._options.patience.answer(
                lambda: self._caller.call(request, self._options.timeout_seconds), stop
            )
        except CallError as error:
            raise ScoringError(f"{_sample_text(request)}: {self._caller.address}: {error}") from error
        return Scored(request, found.scores, found.version)


class _InOrder:
    """Calls under way, in the order in which they were sent."""

    def __init__(self) -> None:
        self._calls: collections.deque[concurrent.futures.Future[Scored]] = collections.deque()
        self._ended: queue.SimpleQueue[concurrent.futures.Future[Scored]] = queue.SimpleQueue()

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: concurrent.futures.Future[Scored]) -> None:
        self._calls.append(call)
        call.add_done_callback(self._ended.put)

    def first(self) -> Iterator[Scored]:
        """What the first call brings, once it is there; where any has failed, those before it and then its error."""
        head = self._calls[0]
        while not head.done() or not self._ended.empty():
            ended = self._next_ended()
            if ended is not None and ended.exception() is not None:
                yield from self._scored_before_failure()
        yield self._calls.popleft().result()

    def _next_ended(self) -> concurrent.futures.Future[Scored] | None:
        # A Ctrl-C that comes just before a wait is seen behind it: one without end would hold it back for minutes.
        with contextlib.suppress(queue.Empty):
            return self._ended.get(timeout=_WAKE_SECONDS)
        return None

    def _scored_before_failure(self) -> Iterator[Scored]:
        while self._calls[0].done() and self._calls[0].exception() is None:
            yield self._calls.popleft().result()
        next(call for call in self._calls if call.done() and call.exception() is not None).result()


def _caller_class(protocol: str) -> Callable[..., _Caller]:
    if protocol == REST:
        return RestCaller
    if protocol == GRPC:
        # Imported here: it needs TensorFlow, which takes seconds to import.
        quiet_tensorflow.import_quietly()
        from serving.grpc_caller import GrpcCaller

        return GrpcCaller
    raise ValueError(f"protocol {protocol!r}: allowed are {', '.join(PROTOCOLS)}")


def _sample_text(request: RawRequest) -> str:
    ids = request.sample_ids
    others = f" and {len(ids) - 1} more of its request" if len(ids) > 1 else ""
    return f"sample_id {ids[0]}{others}"
