"""HTTP around the REST API: routes, limits, and errors as JSON."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import json
import threading
from collections.abc import Awaitable, Callable

from absl import logging
from aiohttp import web

from serving.local_server.json_document import ENCODING
from serving.local_server.metrics import CONTENT_TYPE as METRICS_CONTENT_TYPE
from serving.local_server.metrics import Metrics
from serving.local_server.predict_json import document_text
from serving.local_server.rest_api import API_PATH, Address, RestApi, parse_address
from serving.local_server.status import Code, ServingError
from serving.local_server.tensor_json import string_text
from serving.local_server.try_page import TryPage

ERROR = "error"
TRY_PATH = "/try"
TRY_MODELS_PATH = "/try/models"

_NOT_FOUND_PAGE = "<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a server takes on.

    Attributes:
        threads: calls that are worked on at the same time.
        queued_calls: calls that may wait or be worked on; more are answered with 503 at once.
        request_bytes: size of a body, after decompression.
        timeout_seconds: time to receive a body, and time to answer it.
    """

    threads: int
    queued_calls: int
    request_bytes: int
    timeout_seconds: float


class HttpApp:
    """The handlers. Bodies are read on the event loop; all other work of a call is done on a thread of the pool."""

    def __init__(self, api: RestApi, metrics: Metrics, try_page: TryPage, limits: Limits, monitoring_path: str) -> None:
        self._api = api
        self._metrics = metrics
        self._try_page = try_page
        self._limits = limits
        self._monitoring_path = monitoring_path
        self._pool = concurrent.futures.ThreadPoolExecutor(limits.threads, "call")
        self._queued = 0
        self._queued_lock = threading.Lock()

    def application(self) -> web.Application:
        """The aiohttp application."""
        application = web.Application(client_max_size=self._limits.request_bytes, middlewares=[_errors_as_json])
        if self._monitoring_path:
            application.router.add_get(self._monitoring_path, self._serve_metrics)
        application.router.add_get(TRY_PATH, self._serve_try_page)
        application.router.add_get(TRY_MODELS_PATH, self._serve_try_models)
        application.router.add_route("*", "/{path:.*}", self._serve_api)
        application.on_cleanup.append(self._close)
        return application

    async def _close(self, _: web.Application) -> None:
        self._pool.shutdown()

    async def _serve_api(self, request: web.Request) -> web.Response:
        if not API_PATH.fullmatch(request.path):
            return web.Response(text=_NOT_FOUND_PAGE, status=404, content_type="text/html")
        address = parse_address(request.method, request.raw_path)
        if request.method == "POST":
            return _json_response(await self._answer(address, await self._body(request)))
        look = self._api.metadata if address.method == "metadata" else self._api.status
        return _json_response(await asyncio.get_running_loop().run_in_executor(None, look, address))

    async def _body(self, request: web.Request) -> bytes:
        try:
            return await asyncio.wait_for(request.read(), self._limits.timeout_seconds)
        except asyncio.TimeoutError as error:
            problem = f"the body did not arrive within {self._limits.timeout_seconds:g} s"
            raise ServingError(Code.DEADLINE_EXCEEDED, problem, http_status=408) from error

    async def _answer(self, address: Address, body: bytes) -> bytes:
        with self._queued_lock:
            if self._queued >= self._limits.queued_calls:
                problem = f"{self._queued} calls are waiting; try again later, or raise --max_queued_calls"
                raise ServingError(Code.UNAVAILABLE, problem)
            self._queued += 1
        call = self._pool.submit(self._api.call, address, body)
        call.add_done_callback(self._count_done)
        try:
            # Where the time is up, a call that still waits leaves the queue; one in the graph is ended by the session.
            return await asyncio.wait_for(asyncio.wrap_future(call), self._limits.timeout_seconds)
        except asyncio.TimeoutError as error:
            problem = f"no answer within {self._limits.timeout_seconds:g} s (--rest_api_timeout_in_ms)"
            raise ServingError(Code.DEADLINE_EXCEEDED, problem) from error

    def _count_done(self, _: concurrent.futures.Future[bytes]) -> None:
        with self._queued_lock:
            self._queued -= 1

    async def _serve_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text().encode(), headers={"Content-Type": METRICS_CONTENT_TYPE})

    async def _serve_try_page(self, _: web.Request) -> web.Response:
        return web.Response(body=self._try_page.html(), content_type="text/html", charset="utf-8")

    async def _serve_try_models(self, _: web.Request) -> web.Response:
        found = await asyncio.get_running_loop().run_in_executor(None, self._try_page.models)
        return _json_response(json.dumps(found).encode())


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ServingError as error:
        return _error_response(str(error), error.http_status)
    except web.HTTPRequestEntityTooLarge as error:
        return _error_response(f"the body is too large: {error.text}; see --max_request_bytes", error.status)
    except web.HTTPException as error:
        return _error_response(f"{error.reason}: {request.method} {request.raw_path}", error.status)
    except Exception:
        logging.exception("%s %s", request.method, request.raw_path)
        return _error_response("internal error; the server's log has more", 500)


def _json_response(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")


def _error_response(message: str, status: int) -> web.Response:
    # A message may quote bytes of the body that are no UTF-8; not every client could read the answer then.
    readable = message.encode(*ENCODING).decode("utf-8", "replace")
    return _json_response(document_text(ERROR, string_text(readable)) if message else b"", status)
