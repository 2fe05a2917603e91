"""Connections of the server: so many at most, none that says nothing for long, and a stop that ends in time."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import threading
import time
from typing import Any, cast

from absl import logging
from aiohttp import web

from serving.local_server.http_app import error_response, page

# Descriptors that are left for files, models and libraries.
_OTHER_DESCRIPTORS = 128
_MOST_CONNECTIONS = 4096
# Connections that are accepted before one too many is closed: fewer than descriptors are left.
_BURST = 64


class _Connection(web.RequestHandler):
    """A connection; one too many is closed at once, before it takes the last descriptor."""

    def __init__(self, listener: Listener, server: web.Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._listener.admit(self):
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._listener.forget(self)
        super().connection_lost(exc)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer to what is no HTTP."""
        if "method" in str(exc).lower() and status == 400:
            made = page(501, "Not Implemented")
        else:
            made = error_response(f"no HTTP request: {(message or str(exc)).splitlines()[0]:.200}", status)
        made.force_close()
        return made


class Listener:
    """Listens at a socket that is bound already."""

    def __init__(self, sock: socket.socket, idle_seconds: float) -> None:
        self._socket = sock
        self._idle_seconds = idle_seconds
        self._most = _most_connections()
        # When each connection that has no request was first seen without.
        self._idle_since: dict[_Connection, float] = {}
        self._busy: set[_Connection] = set()

    async def serve(self, application: web.Application, ready: Any, drain_seconds: float) -> None:
        """Serves until SIGTERM or SIGINT; then takes no more calls, and ends when the last one is answered.

        Args:
            application: to serve.
            ready: called when calls are taken.
            drain_seconds: when the process ends though calls are under way. A second signal ends it at once.
        """
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stop, stop, drain_seconds)
        application.middlewares.append(self._note_requests)
        options: dict[str, Any] = {"access_log": None, "auto_decompress": False}
        # Connections are closed a little before the process ends by force.
        runner = web.AppRunner(application, shutdown_timeout=0.8 * drain_seconds, **options)
        await runner.setup()
        server = await loop.create_server(
            lambda: _Connection(self, cast(web.Server, runner.server), loop=loop, **options),
            sock=self._socket,
            backlog=_BURST,
        )
        reaper = asyncio.create_task(self._close_idle())
        ready()
        await stop.wait()
        logging.info("Stopping: the calls under way are answered first")
        server.close()
        reaper.cancel()
        for connection in self._idle_since.keys() - self._busy:
            connection.force_close()
        await runner.cleanup()

    def admit(self, connection: _Connection) -> bool:
        """Whether there is room for one more."""
        self._idle_since[connection] = time.monotonic()
        return len(self._idle_since) <= self._most

    def forget(self, connection: _Connection) -> None:
        """A connection was closed."""
        self._idle_since.pop(connection, None)
        self._busy.discard(connection)

    @web.middleware
    async def _note_requests(self, request: web.Request, handler: Any) -> web.StreamResponse:
        connection: Any = request.protocol
        self._busy.add(connection)
        try:
            return await handler(request)
        finally:
            self._busy.discard(connection)
            if connection in self._idle_since:
                self._idle_since[connection] = time.monotonic()

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self._idle_seconds / 2))
            before = time.monotonic() - self._idle_seconds
            for connection in [c for c, since in self._idle_since.items() if since < before and c not in self._busy]:
                connection.force_close()


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket at an address, which does not listen yet. Raises OSError with the address in its text."""
    sock = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except (OSError, UnicodeError) as error:
        if sock is not None:
            sock.close()
        problem = error.strerror if isinstance(error, OSError) else error
        raise OSError(f"--rest_api_host={host} --rest_api_port={port}: {problem}") from error
    return sock


def _stop(stop: asyncio.Event, drain_seconds: float) -> None:
    if stop.is_set():
        os._exit(130)
    stop.set()
    # Calls in the graph end by their own time-out, which may be later.
    timer = threading.Timer(drain_seconds, os._exit, [1])
    timer.daemon = True
    timer.start()


def _most_connections() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_CONNECTIONS + _OTHER_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, soft - _OTHER_DESCRIPTORS)
    return _MOST_CONNECTIONS
