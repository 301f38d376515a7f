"""Where the server listens, and how it ends."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from assistant.serve.worker import Worker
from convert.errors import TakebackError

_CONNECTIONS = 256
_GRACE_SECONDS = 5


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound and does not listen yet, so that nobody connects while the model loads.

    `host` is a name or an address, of which the first is taken. Raises TakebackError if that cannot be.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise TakebackError(f"--host {host}: there is no such address here") from error
    family, kind, protocol, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        message = f"cannot listen on {host}, port {port}: {error.strerror or error}; choose another --port"
        raise TakebackError(message) from error
    return bound


def is_loopback(bound: socket.socket) -> bool:
    """Whether only programs on this machine can reach a socket."""
    return ipaddress.ip_address(bound.getsockname()[0]).is_loopback


def address_of(bound: socket.socket) -> str:
    """A socket's address as it stands in a URL."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class TimedProtocol(H11Protocol):
    """HTTP that closes a connection on which no request's head has come whole after `head_time` seconds.

    uvicorn waits for ever for one that has begun, and for the first one.
    """

    head_time = 10.0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request, or wait on."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        self._stop_waiting()

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()  # what is left of the request is the application's to wait for
        elif self._late is None and not self.transport.is_closing():
            self._late = self.loop.call_later(self.head_time, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class Server(uvicorn.Server):
    """uvicorn, which ends the model's work first where it would wait for the replies.

    `ready` is called once connections are taken.
    """

    def __init__(self, app: ASGIApp, worker: Worker, ready: Callable[[], None] = lambda: None) -> None:
        # No log but of uvicorn's own warnings, which quote nothing of a request.
        config = uvicorn.Config(
            app,
            http=TimedProtocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        super().__init__(config)
        self._worker = worker
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End everything: what is being written or waits is told so."""
        self._worker.stop()
        await super().shutdown(sockets)
