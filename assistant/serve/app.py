"""The endpoint's addresses."""

import asyncio
import time
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from assistant.engine.options import GenerateOptions
from assistant.serve.chat_request import parse_chat_request
from assistant.serve.guard import Guard
from assistant.serve.refused import Refused, json_response, refusal
from assistant.serve.reply import ChatReply
from assistant.serve.worker import Worker

MAX_BODY = 4 << 20
"""Bytes. The longest conversations that a model reads are a tenth of it."""
_ALIAS = "default"


@dataclass(frozen=True)
class Serving:
    """What is served, and to whom.

    `model` is its name here. `defaults` hold for what a request leaves out; `early` lets a stream have text
    before its reply is done, unless the request says otherwise. `hosts` are further Host headers that are
    ours. `keep_alive` and `body_time` are in seconds.
    """

    model: str
    defaults: GenerateOptions = field(default_factory=GenerateOptions)
    early: bool = False
    token: str | None = None
    hosts: tuple[str, ...] = ()
    keep_alive: float = 5.0
    body_time: float = 30.0


def build_app(worker: Worker, serving: Serving) -> ASGIApp:
    """The application that answers for a worker."""
    created = int(time.time())
    card = {"id": serving.model, "object": "model", "created": created, "owned_by": "takeback"}
    names = (serving.model, _ALIAS)

    async def health(_request: Request) -> Response:
        return json_response({"status": "ok"})

    async def models(_request: Request) -> Response:
        return json_response({"object": "list", "data": [card]})

    async def model(request: Request) -> Response:
        if request.path_params["name"] not in names:
            raise Refused(404, f"there is only the model {serving.model}", code="model_not_found")
        return json_response(card)

    async def chat(request: Request) -> Response:
        body = await _body(request, serving.body_time)
        wanted = parse_chat_request(body, serving.defaults, names, early=serving.early)
        return ChatReply(worker, wanted, serving.model, serving.keep_alive)

    app = Starlette(
        routes=[
            Route("/health", health),
            Route("/v1/models", models),
            Route("/v1/models/{name:path}", model),
            Route("/v1/chat/completions", chat, methods=["POST"]),
        ],
        exception_handlers={Refused: _refused, HTTPException: _not_here, Exception: _failed},
    )
    app.router.redirect_slashes = False
    return Guard(app, token=serving.token, hosts=serving.hosts)


async def _body(request: Request, seconds: float) -> bytes:
    """The request's body. Raises Refused if it is too large or too slow."""
    if int(request.headers.get("content-length", 0)) > MAX_BODY:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY:
                    raise _too_large()
    except TimeoutError:
        raise Refused(408, "the body took too long to come") from None
    except ClientDisconnect:
        raise Refused(400, "the body ended early") from None
    return bytes(body)


def _too_large() -> Refused:
    return Refused(413, f"the body is larger than {MAX_BODY >> 20} MiB", headers={"Connection": "close"})


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return refusal(error)


async def _failed(_request: Request, _error: Exception) -> Response:
    return refusal(Refused(500, "the server failed; its own output says where"))


async def _not_here(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = "there is nothing at this address" if error.status_code == 404 else str(error.detail)
    return refusal(Refused(error.status_code, message, headers=dict(error.headers or {})))
