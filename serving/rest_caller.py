"""Calls by REST: one attempt, its connection, and what the server's status says about trying again."""

from __future__ import annotations

import json
import socket
import threading
import urllib.parse
from collections.abc import Callable
from typing import Any

import orjson
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from features.raw_requests import RawRequest
from features.schema import NUMBER, VECTOR, Schema
from serving import answers, call_bodies
from serving.answers import Answer, CallError

# The server is starting, busy, or being replaced.
_AWAY_STATUSES = frozenset({408, 429, 502, 503, 504})
_NOT_FOUND = 404


class RestCaller:
    """Sends raw requests to a model. Any thread may call; each has a connection that stays open."""

    def __init__(self, url: str, model_name: str, version: int | None, signature: str, schema: Schema) -> None:
        """Makes no connection yet.

        Args:
            url: such as http://127.0.0.1:8501; a path before /v1 is kept, user:password@ is sent as basic access.
            model_name: as the server calls it.
            version: number of a version; None: the newest.
            signature: of the model.
            schema: of the requests.

        Raises:
            ValueError: no such URL, or no such signature.
        """
        self._server, self._headers = _parsed(url)
        self._form = call_bodies.form(signature)
        self._schema = schema
        self._model = f"{(self._server.path or '').rstrip('/')}/v1/models/{urllib.parse.quote(model_name, safe='')}"
        self._newest = _NewestVersion(version)
        self._pools = threading.local()
        # JSON has no NaN; both servers take the word, and the standard library writes it. orjson is faster without.
        has_numbers = any(field.type in (NUMBER, VECTOR) for field in schema.fields)
        self._encode = _encode_with_nan if has_numbers else orjson.dumps

    @property
    def address(self) -> str:
        """What is called, without user and password."""
        server = self._server
        port = f":{server.port}" if server.port else ""
        return f"{server.scheme}://{server.host}{port}{self._path(self._newest.version)}"

    def call(self, request: RawRequest, seconds: float) -> Answer:
        """One attempt, which takes so many seconds at most. Raises CallError."""
        version = self._newest.get(lambda: self._available(seconds))
        body = self._encode(self._form.body(request, self._schema))
        status, headers, answer = self._send("POST", self._path(version), seconds, body)
        if status == _NOT_FOUND and self._newest.forget(version):
            # The version that answered up to now is gone: the next attempt asks for the newest.
            raise CallError(_problem(status, answer), CallError.SOMETIMES)
        if status != 200:
            raise CallError(_problem(status, answer), _retried(status), _retry_after(headers))
        try:
            scores = self._form.scores(json.loads(answer))
        except (ValueError, LookupError, TypeError) as error:
            raise CallError(f"the answer holds no scores: {error!r:.200}") from error
        return Answer(answers.checked(scores, len(request.sample_ids)), version)

    def _path(self, version: int | None) -> str:
        return f"{self._model}{'' if version is None else f'/versions/{version}'}:{self._form.method}"

    def _available(self, seconds: float) -> int | None:
        """Number of the newest version that is served; None where the server does not tell."""
        status, headers, answer = self._send("GET", self._model, seconds)
        if status in _AWAY_STATUSES:
            raise CallError(_problem(status, answer), CallError.ALWAYS, _retry_after(headers))
        try:
            found = json.loads(answer)["model_version_status"]
            return max(int(one["version"]) for one in found if one["state"] == "AVAILABLE")
        except (ValueError, LookupError, TypeError):
            return None

    def _send(self, method: str, path: str, seconds: float, body: bytes | None = None) -> tuple[int, Any, bytes]:
        timeout = urllib3.Timeout(connect=seconds, read=seconds)
        headers = self._headers | ({"Content-Type": "application/json"} if body is not None else {})
        try:
            response = self._pool(seconds).urlopen(
                method, path, body, headers, retries=False, redirect=False, timeout=timeout, preload_content=False
            )
            connection: Any = response.connection
            try:
                answer = response.read()
            finally:
                if connection is not None:
                    connection.call_ended()
            response.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise CallError(f"{type(error).__name__}: {error}"[:500], CallError.ALWAYS) from error
        return response.status, response.headers, answer

    def _pool(self, seconds: float) -> urllib3.HTTPConnectionPool:
        pool: urllib3.HTTPConnectionPool | None = getattr(self._pools, "mine", None)
        if pool is None:
            pool = _POOLS[str(self._server.scheme)](str(self._server.host), self._server.port, maxsize=1)
            pool.conn_kw["call_seconds"] = seconds
            self._pools.mine = pool
        return pool


class _NewestVersion:
    """The version that is called: the newest at the start, until the server has it no longer.

    A call that names its version is the only one of which REST tells what answered it.
    """

    def __init__(self, given: int | None) -> None:
        self._given = given
        self._lock = threading.Lock()
        self._asked = False
        self.version = given

    def get(self, ask: Callable[[], int | None]) -> int | None:
        with self._lock:
            if self._given is None and not self._asked:
                self.version = ask()
                self._asked = True
            return self.version

    def forget(self, version: int | None) -> bool:
        """Whether another version may be there instead of this one."""
        with self._lock:
            if self._given is not None or version is None:
                return False
            if self.version == version:
                self._asked = False
            return True


class _Bounded:
    """A connection on which a call, however slowly its bytes come, ends in time; and that acknowledges at once.

    TensorFlow Serving writes an answer over 16 KB in pieces without TCP_NODELAY: each waits for the receipt of the one
    before, which a client may hold back for 40 ms.
    """

    def __init__(self, *args: Any, call_seconds: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self._call_seconds = call_seconds
        self._timer: threading.Timer | None = None

    def request(self, *args: Any, **options: Any) -> None:
        self.call_ended()
        self._timer = threading.Timer(self._call_seconds, self._abort)
        self._timer.daemon = True
        self._timer.start()
        super().request(*args, **options)  # type: ignore[misc]

    def getresponse(self) -> Any:
        if hasattr(socket, "TCP_QUICKACK"):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # type: ignore[attr-defined]
        return super().getresponse()  # type: ignore[misc]

    def call_ended(self) -> None:
        """The answer is here."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        self.call_ended()
        super().close()  # type: ignore[misc]

    def _abort(self) -> None:
        if (sock := getattr(self, "sock", None)) is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is closed already


class _PlainConnection(_Bounded, HTTPConnection):
    pass


class _TlsConnection(_Bounded, HTTPSConnection):
    pass


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _PlainPool, "https": _TlsPool}


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    scheme, found, _ = url.partition("://")
    _, secret, host = url.rpartition("@")
    return f"{scheme + found if found else ''}...@{host}" if secret else url


def _parsed(url: str) -> tuple[urllib3.util.Url, dict[str, str]]:
    """The URL, and headers that every call has."""
    try:
        server = urllib3.util.parse_url(url)
    except urllib3.exceptions.LocationParseError as error:
        raise ValueError("server: this is no URL; one such as http://127.0.0.1:8501 is needed") from error
    if server.scheme not in _POOLS or not server.host or "://" not in url:
        raise ValueError(f"server {without_password(url)!r}: a URL such as http://127.0.0.1:8501 is needed")
    if server.query is not None or server.fragment is not None:
        raise ValueError(
            f"server {without_password(url)!r}: a URL without ? and # is needed: paths of models are put behind it"
        )
    if not server.auth:
        return server, {}
    return server, urllib3.make_headers(basic_auth=urllib.parse.unquote(server.auth))


def _retried(status: int) -> str:
    if status in _AWAY_STATUSES:
        return CallError.ALWAYS
    return CallError.SOMETIMES if status >= 500 else CallError.NEVER


def _retry_after(headers: Any) -> float:
    try:
        return float(urllib3.Retry().parse_retry_after(headers["Retry-After"])) if "Retry-After" in headers else 0.0
    except urllib3.exceptions.InvalidHeader:
        return 0.0


def _problem(status: int, answer: bytes) -> str:
    try:
        text = str(json.loads(answer)["error"])
    except (ValueError, LookupError, TypeError):
        text = answer[:200].decode("utf-8", "replace")
    return f"HTTP status {status}: {text[:1000]}"


def _encode_with_nan(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
