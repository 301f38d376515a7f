"""The answer to a chat completion: waits for the model, and ends its work when the client goes away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from assistant.engine.events import Done, Error, Event, Prefill, Reset, Start, Text
from assistant.serve.chat_request import ChatRequest
from assistant.serve.completion import Completion, server_sent
from assistant.serve.refused import Refused, error_object, json_response, too_busy
from assistant.serve.worker import FAILED, STOPPING, Job, Worker

_QUIET = b": the reply is being written\n\n"
_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-accel-buffering": "no",  # a proxy must not wait for the end
}


class _Gone(Exception):  # noqa: N818 (nobody failed)
    """The client has closed its connection."""


class ChatReply(Response):
    """Answers one request that the worker has taken. Its calling thread is the event loop's.

    `keep_alive` is after how many quiet seconds a client that streams is told that there is still somebody.
    Raises Refused if the request is too much for the worker.
    """

    def __init__(self, worker: Worker, request: ChatRequest, model: str, keep_alive: float) -> None:
        super().__init__()
        self._worker = worker
        self._request = request
        self._keep_alive = keep_alive
        self._completion = Completion(model)
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._over = False
        self._job = Job(request.messages, request.options, self._report)
        worker.submit(self._job)

    def _report(self, event: Event) -> None:
        """Hand an event over, in the worker's thread. Text that nobody may read yet stays there."""
        if isinstance(event, Prefill) or (isinstance(event, Text | Reset) and not self._request.early):
            return
        with suppress(RuntimeError):  # the event loop has ended: nobody waits for it
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        watcher = asyncio.create_task(self._watch(receive))
        try:
            with suppress(_Gone):
                if self._request.stream:
                    await self._stream(send)
                else:
                    await (await self._whole())(scope, receive, send)
        finally:
            watcher.cancel()
            self.abandon()

    def abandon(self) -> None:
        """End the model's work on this, unless it is done."""
        if not self._over:
            self._over = True
            self._worker.cancel(self._job)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._events.put_nowait(None)

    async def _whole(self) -> Response:
        start = done = None
        while done is None:
            event = await self._next()
            if isinstance(event, Error):
                raise _failure(event, begun=start is not None)
            if isinstance(event, Start):
                start = event
            elif isinstance(event, Done):
                done = event
        assert start is not None
        return json_response(self._completion.whole(start, done))

    async def _stream(self, send: Send) -> None:
        parts = self._parts()
        first = await anext(parts)  # a request that is refused at once has a status of its own
        headers = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": first, "more_body": True})
        async for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _parts(self) -> AsyncIterator[bytes]:
        """The stream's bytes, whole server-sent events or comments. Raises Refused before the first of them."""
        completion, begun, start = self._completion, False, None
        while True:
            event = None
            with suppress(TimeoutError):
                event = await asyncio.wait_for(self._next(), self._keep_alive)
            if isinstance(event, Error):
                failure = _failure(event, begun=start is not None)
                if not begun:
                    raise failure
                yield server_sent(error_object(failure))
                return
            begun = True
            match event:
                case None:
                    yield _QUIET
                case Start():
                    start = event
                    yield server_sent(completion.begin())
                case Text(text):
                    yield server_sent(completion.text(text))
                case Reset(discarded_tokens=count):
                    if chunk := completion.reset(count):
                        yield server_sent(chunk)
                case Done():
                    assert start is not None
                    yield self._end(start, event)
                    return

    def _end(self, start: Start, done: Done) -> bytes:
        """All that is left to send when the reply is done."""
        completion = self._completion
        chunks = [completion.end(done)]
        if done.text and not self._request.early:
            chunks.insert(0, completion.text(done.text))
        if self._request.usage:
            chunks.append(completion.count(start, done))
        return b"".join(map(server_sent, chunks)) + b"data: [DONE]\n\n"

    async def _next(self) -> Event:
        """The next event. A reply that was cut off is an error: only the server's end does that."""
        event = await self._events.get()
        if event is None:
            raise _Gone
        self._over = isinstance(event, Done | Error)
        if isinstance(event, Done) and event.reason == "cancelled":
            return Error(STOPPING)
        return event


def _failure(error: Error, *, begun: bool) -> Refused:
    """The refusal for a generation that failed: before it began, it is the conversation that is at fault."""
    if error.message == STOPPING:
        return too_busy(503, STOPPING, 5)
    if begun or error.message == FAILED:
        return Refused(500, error.message)
    return Refused(400, error.message, param="messages")
