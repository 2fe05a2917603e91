"""HTTP around the REST API: routes, limits, and errors as JSON."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import ipaddress
import json
import socket
import time
import zlib
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

# Those that TensorFlow Serving's HTTP library knows; it answers all others with 501.
METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"})
_PAGE = "<HTML><HEAD>\n<TITLE>{0} {1}</TITLE>\n</HEAD><BODY>\n<H1>{1}</H1>\n</BODY></HTML>\n"


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a server takes on.

    Attributes:
        threads: calls that are worked on at the same time.
        queued_calls: calls that may arrive, wait or be worked on; more are answered with 503 before their body is read.
        request_bytes: size of a body, after decompression.
        bytes_in_flight: size of all bodies that have arrived and are not answered yet; more are answered with 503.
        timeout_seconds: time to receive a body, and time to answer it.
    """

    threads: int
    queued_calls: int
    request_bytes: int
    bytes_in_flight: int
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
        # Both are touched by the event loop alone.
        self._calls = 0
        self._bytes = 0

    def application(self) -> web.Application:
        """The aiohttp application. Its server must not decompress bodies: here that has a limit."""
        application = web.Application(middlewares=[_errors_as_json])
        if self._monitoring_path:
            application.router.add_get(self._monitoring_path, self._serve_metrics)
        application.router.add_get(TRY_PATH, self._serve_try_page)
        application.router.add_get(TRY_MODELS_PATH, self._serve_try_models)
        application.router.add_route("*", "/{path:.*}", self._serve_api)
        return application

    def close(self) -> None:
        """Waits for the calls that are in the graph."""
        self._pool.shutdown()

    async def _serve_api(self, request: web.Request) -> web.Response:
        if request.method not in METHODS:
            return page(501, "Not Implemented")
        if not API_PATH.fullmatch(request.path):
            return page(404, "Not Found")
        address = parse_address(request.method, request.raw_path)
        if request.method == "POST":
            return _json_response(await self._counted(request, address))
        look = self._api.metadata if address.method == "metadata" else self._api.status
        return _json_response(await asyncio.get_running_loop().run_in_executor(None, look, address))

    async def _counted(self, request: web.Request, address: Address) -> bytes:
        """Answer of a call, which is counted whatever becomes of it."""
        start, code = time.monotonic(), Code.INTERNAL
        try:
            answer = await self._admitted(request, address)
            code = Code.OK
            return answer
        except ServingError as error:
            code = error.code
            raise
        except (asyncio.CancelledError, ConnectionError):
            code = Code.CANCELLED
            raise
        finally:
            name = self._api.counted_name(address)
            self._metrics.count_request(name, address.method, code, time.monotonic() - start)

    async def _admitted(self, request: web.Request, address: Address) -> bytes:
        """Answer of a call, if there are not too many."""
        if self._calls >= self._limits.queued_calls:
            problem = f"{self._calls} calls are waiting; try again later, or raise --max_queued_calls"
            raise ServingError(Code.UNAVAILABLE, problem)
        self._calls += 1
        done: concurrent.futures.Future[bytes] | None = None
        taken = [0]
        try:
            body = await self._body(request, taken)
            zipped = request.headers.get("Content-Encoding") == "gzip"
            done = self._pool.submit(self._answer, address, body, zipped)
            del body
            return await asyncio.wait_for(asyncio.wrap_future(done), self._limits.timeout_seconds)
        except asyncio.TimeoutError as error:
            # A call that still waits leaves the queue; one in the graph is ended by the session.
            problem = f"no answer within {self._limits.timeout_seconds:g} s (--rest_api_timeout_in_ms)"
            raise ServingError(Code.DEADLINE_EXCEEDED, problem) from error
        finally:
            self._release_when(done, taken[0])

    def _release_when(self, done: concurrent.futures.Future[bytes] | None, taken: int) -> None:
        """Gives place and bytes of a call back once no thread works on it any more."""
        if done is None or done.done():
            self._release(taken)
        else:
            loop = asyncio.get_running_loop()
            done.add_done_callback(lambda _: loop.call_soon_threadsafe(self._release, taken))

    def _release(self, taken: int) -> None:
        self._calls -= 1
        self._bytes -= taken

    async def _body(self, request: web.Request, taken: list[int]) -> bytes:
        """The body as it was sent; `taken` gets its size, also where it does not come to its end."""
        try:
            return await asyncio.wait_for(self._read(request, taken), self._limits.timeout_seconds)
        except asyncio.TimeoutError as error:
            problem = f"the body did not arrive within {self._limits.timeout_seconds:g} s"
            raise ServingError(Code.DEADLINE_EXCEEDED, problem, http_status=408) from error

    async def _read(self, request: web.Request, taken: list[int]) -> bytes:
        if (request.content_length or 0) > self._limits.request_bytes:
            raise _too_large(self._limits.request_bytes)
        parts = []
        while part := await request.content.readany():
            parts.append(part)
            taken[0] += len(part)
            self._bytes += len(part)
            if taken[0] > self._limits.request_bytes:
                raise _too_large(self._limits.request_bytes)
            if self._bytes > self._limits.bytes_in_flight:
                problem = f"{self._bytes} bytes of calls are waiting; try again later"
                raise ServingError(Code.UNAVAILABLE, problem)
        return b"".join(parts)

    def _answer(self, address: Address, body: bytes, zipped: bool) -> bytes:
        return self._api.call(address, inflated(body, self._limits.request_bytes) if zipped else body)

    async def _serve_metrics(self, request: web.Request) -> web.Response:
        if request.raw_path != self._monitoring_path:
            text = f"Unexpected path: {request.raw_path}. Should be {self._monitoring_path}"
            return web.Response(text=text, status=400)
        return web.Response(body=self._metrics.text().encode(), headers={"Content-Type": METRICS_CONTENT_TYPE})

    async def _serve_try_page(self, request: web.Request) -> web.Response:
        _refuse_foreign_host(request)
        return web.Response(body=self._try_page.html(), content_type="text/html", charset="utf-8")

    async def _serve_try_models(self, request: web.Request) -> web.Response:
        _refuse_foreign_host(request)
        found = await asyncio.get_running_loop().run_in_executor(None, self._try_page.models)
        return _json_response(json.dumps(found).encode())


def inflated(body: bytes, limit: int) -> bytes:
    """A gzip body's contents; nothing of one that is broken or has something behind its end. Raises ServingError."""
    stream = zlib.decompressobj(wbits=31)
    try:
        contents = stream.decompress(body, limit + 1)
    except zlib.error:
        return b""
    if len(contents) > limit:
        raise _too_large(limit)
    return contents if stream.eof and not stream.unused_data else b""


def page(status: int, reason: str) -> web.Response:
    """A page of TensorFlow Serving's HTTP library."""
    return web.Response(text=_PAGE.format(status, reason), status=status, content_type="text/html")


def error_response(message: str, status: int) -> web.Response:
    """JSON of an error."""
    # A message may quote bytes of the body that are no UTF-8; not every client could read the answer then.
    readable = message.encode(*ENCODING).decode("utf-8", "replace")
    return _json_response(document_text(ERROR, string_text(readable)) if message else b"", status)


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ServingError as error:
        return error_response(str(error), error.http_status)
    except ConnectionError:
        return error_response("the caller is gone", 499)
    except web.HTTPException as error:
        return error_response(f"{error.reason}: {request.method} {request.raw_path}", error.status)
    except Exception:
        logging.exception("%s %s", request.method, request.raw_path)
        return error_response("internal error; the server's log has more", 500)


def _too_large(limit: int) -> ServingError:
    problem = f"the body is too large: more than {limit} bytes; see --max_request_bytes"
    return ServingError(Code.RESOURCE_EXHAUSTED, problem, http_status=413)


def _refuse_foreign_host(request: web.Request) -> None:
    """Another site's page could have its own name point here, and read what this page shows (DNS rebinding)."""
    name = request.url.host or ""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        if name.lower() not in ("localhost", socket.gethostname().lower()):
            problem = f"Host {name!r} is not this machine: call it by its address"
            raise ServingError(Code.PERMISSION_DENIED, problem) from None


def _json_response(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")
