"""The one thread that has the model: it answers requests one after the other, in the order in which they came."""

import hashlib
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from assistant.engine.events import Done, Error, Event
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions
from assistant.serve.failure import tell_failure
from assistant.serve.refused import too_busy

STOPPING = "the server is shutting down"
FAILED = "the model failed; the server's own output says where"
_RETRY_SECONDS = 5
_REMEMBERED = 64


class Info(Protocol):
    """What the worker needs to know of a model."""

    @property
    def vocab_sha256(self) -> str:
        """Of the vocabulary that generated ids belong to."""


class Model(Protocol):
    """What the worker needs of a loaded model; `assistant.engine.session.Session` is one."""

    @property
    def info(self) -> Info:
        """What it is."""

    def generate(
        self, messages: Sequence[Message], options: GenerateOptions | None = None
    ) -> Iterator[Event]:
        """Write the next reply."""

    def cancel(self) -> None:
        """Stop the reply, from any thread."""

    def close(self) -> None:
        """Free it."""


@dataclass(eq=False)
class Job:
    """A conversation that waits for a reply. `report` is called in the worker's thread, and must not raise."""

    messages: list[Message]
    options: GenerateOptions
    report: Callable[[Event], None]


class Worker:
    """Owns the model from `start` on, and closes it at its end. All methods are for any thread."""

    def __init__(self, model: Model, *, queue: int) -> None:
        self._model = model
        self._queue = queue
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._stopping = False
        self._changed = threading.Condition()
        # A client sends a reply back as text. With its ids the next turn reads only what is new.
        self._said: OrderedDict[bytes, tuple[int, ...]] = OrderedDict()
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Put a job behind those that wait. Raises Refused if too many do, or if the server ends."""
        with self._changed:
            if self._stopping:
                raise too_busy(503, STOPPING, _RETRY_SECONDS)
            busy = self._running is not None
            if len(self._waiting) >= self._queue + (not busy):
                message = f"{len(self._waiting)} requests wait for the model already; try again later"
                raise too_busy(429, message, _RETRY_SECONDS)
            self._waiting.append(job)
            self._changed.notify()

    def cancel(self, job: Job) -> None:
        """End a job that waits or is being answered; one that waited hears nothing more.

        Not after its last event: the model then gets ready for the next turn.
        """
        with self._changed:
            if self._running is job:
                self._model.cancel()
            elif job in self._waiting:
                self._waiting.remove(job)

    def stop(self) -> None:
        """Take no more jobs, and end those that there are: they hear that the server is shutting down."""
        with self._changed:
            self._stopping = True
            dropped = list(self._waiting)
            self._waiting.clear()
            if self._running is not None:
                self._model.cancel()
            self._changed.notify()
        for job in dropped:
            job.report(Error(STOPPING))

    def join(self, seconds: float) -> bool:
        """Wait for the thread's end, after `stop`. Whether it ended within so many seconds."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while (begun := self._next()) is not None:
                job, events = begun
                try:
                    self._answer(job, events)
                except Exception as error:  # whatever it is: a thread that died would be waited for
                    tell_failure("the model", error)
                    job.report(Error(FAILED))
                finally:
                    with self._changed:
                        self._running = None
        finally:
            self._model.close()

    def _next(self) -> tuple[Job, Iterator[Event]] | None:
        """The next job, whose reply has begun, so that a cancel from now on is for it; None: no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            if self._stopping:
                return None
            job = self._running = self._waiting.popleft()
            return job, self._model.generate(self._with_ids(job.messages), job.options)

    def _answer(self, job: Job, events: Iterator[Event]) -> None:
        for event in events:
            if isinstance(event, Done):
                self._remember(event)
            job.report(event)
            if self._stopping and isinstance(event, Done | Error):
                return  # there is no next turn to get ready for

    def _with_ids(self, messages: list[Message]) -> list[Message]:
        """The messages, with the ids of those that this model has written."""
        vocabulary = self._model.info.vocab_sha256
        return [
            replace(message, ids=self._said.get(_key(message.content)), vocab_sha256=vocabulary)
            if message.role == "assistant"
            else message
            for message in messages
        ]

    def _remember(self, done: Done) -> None:
        if done.text and done.ids:
            self._said[_key(done.text)] = done.ids
            self._said.move_to_end(_key(done.text))
            if len(self._said) > _REMEMBERED:
                self._said.popitem(last=False)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
