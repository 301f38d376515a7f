"""What every request must pass before anything reads it: it comes from a program, and that program may ask.

A page in a browser can reach a server on this machine too: under a name that its owner points here, or by a
form. So a Host that is not ours, any Origin and any body but JSON are refused, also on loopback, and no answer
allows another origin anything.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from assistant.serve.failure import tell_failure
from assistant.serve.refused import Refused, refusal, too_busy

MAX_PARALLEL = 80
"""Requests in the works at a time, those that wait for the model included."""
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Guard:
    """An ASGI application in front of another. `token` is None where none is asked for.

    `hosts` are Host headers that are ours beside the address that a connection came to.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._token = None if token is None else _digest(token.encode())
        self._hosts = {host.lower() for host in hosts}
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it. What fails is told without a word of the request."""
        self._running += 1
        try:
            if self._running > MAX_PARALLEL:
                raise too_busy(503, "too many requests at a time", 1)
            self._check(scope)
            await self._app(scope, receive, send)
        except Refused as refused:
            await refusal(refused)(scope, receive, send)
        except Exception as error:  # the application has answered, as far as that could be
            tell_failure("a request", error)
        finally:
            self._running -= 1

    def _check(self, scope: Scope) -> None:
        """Raise Refused unless the headers say that this is for us, from one who may."""
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        hosts = headers.get(b"host", [])
        if len(hosts) != 1 or hosts[0].decode("latin-1").lower() not in self._ours(scope):
            message = "this Host is not the server's; start it with --allow-host if it should be"
            raise Refused(403, message, code="wrong_host")
        if b"origin" in headers:
            raise Refused(403, "pages in a browser may not use this server", code="origin_refused")
        if self._token is not None and not self._knows_token(headers.get(b"authorization", [])):
            message = "the token is missing or wrong; send it as Authorization: Bearer TOKEN"
            wanted = {"WWW-Authenticate": "Bearer"}
            raise Refused(401, message, code="invalid_api_key", headers=wanted)
        if scope["method"] == "POST" and not _is_json(headers.get(b"content-type", [])):
            raise Refused(415, "the Content-Type must be application/json", code="wrong_content_type")

    def _ours(self, scope: Scope) -> set[str]:
        """The Host headers by which this connection's address may be called."""
        address, port = ipaddress.ip_address(scope["server"][0]), scope["server"][1]
        address = getattr(address, "ipv4_mapped", None) or address
        names = {str(address) if address.version == 4 else f"[{address}]"}
        if address.is_loopback:
            names.update(_LOOPBACK_NAMES)
        with_port = {f"{name}:{port}" for name in names}
        return self._hosts | with_port | (names if port == 80 else set())

    def _knows_token(self, given: list[bytes]) -> bool:
        """Whether the one Authorization header holds the token. Takes as long for any wrong one."""
        kind, _, token = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        same = hmac.compare_digest(_digest(token.strip()), self._token or b"")
        return same and kind.lower() == b"bearer"


def _digest(token: bytes) -> bytes:
    """Tokens are compared by these, so that their lengths do not show either."""
    return hashlib.sha256(token).digest()


def _is_json(given: list[bytes]) -> bool:
    """Whether the one Content-Type is JSON in UTF-8: no form of a page can send that without asking first."""
    if len(given) != 1:
        return False
    kind, _, parameters = given[0].decode("latin-1").lower().partition(";")
    charset = parameters.replace(" ", "").replace('"', "")
    return kind.strip() == "application/json" and charset in ("", "charset=utf-8")
