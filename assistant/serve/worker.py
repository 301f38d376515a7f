"""The threads that have the model: each answers one request at a time, in the order in which they came."""

import hashlib
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
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
    ) -> Generator[Event, None, None]:
        """Write the next reply."""

    def cancel(self) -> None:
        """Stop the reply, from any thread."""

    def close(self) -> None:
        """Free it."""


@dataclass(eq=False)
class Job:
    """A conversation that waits for a reply. `report` is called in a worker's thread, and must not raise."""

    messages: list[Message]
    options: GenerateOptions
    report: Callable[[Event], None]


@dataclass(eq=False)
class _Seat:
    """A place for one conversation: a session, the job it has, and the conversation it had last.

    `begun` says that a cancel of the session is one of the job, `told` that its client has heard all, and only
    the session gets ready for the next turn. `freed` counts who has been idle for longest.
    """

    model: Model
    thread: threading.Thread | None = None
    job: Job | None = None
    begun: bool = False
    told: bool = False
    last: list[Message] = field(default_factory=list)
    freed: int = 0

    def knows(self, messages: Sequence[Message]) -> int:
        """How many characters of a conversation it has read; 0 if they share at most a system message."""
        shared, same = 0, False
        for had, asked in zip(self.last, messages, strict=False):
            if (had.role, had.content) != (asked.role, asked.content):
                break
            shared += len(had.content)
            same = same or had.role != "system"
        return shared if same else 0


class Worker:
    """Owns its sessions from `start` on, and closes each at its end. All methods are for any thread.

    As many requests are answered at a time as there are sessions; `queue` more may wait.
    """

    def __init__(self, models: Sequence[Model], *, queue: int) -> None:
        self._seats = [_Seat(model) for model in models]
        self._queue = queue
        self._waiting: deque[Job] = deque()
        self._stopping = False
        self._changed = threading.Condition()
        # A client sends a reply back as text. With its ids the next turn reads only what is new.
        self._said: OrderedDict[bytes, tuple[int, ...]] = OrderedDict()

    def start(self) -> None:
        """Begin to answer."""
        for seat in self._seats:
            seat.thread = threading.Thread(target=self._run, args=(seat,), name="model", daemon=True)
            seat.thread.start()

    @property
    def running(self) -> int:
        """How many requests are being answered."""
        return sum(seat.job is not None for seat in self._seats)

    def submit(self, job: Job) -> None:
        """Give a job to a session, or put it behind those that wait.

        Raises Refused if too many do, or if the server ends.
        """
        with self._changed:
            if self._stopping:
                raise too_busy(503, STOPPING, _RETRY_SECONDS)
            if self.running == len(self._seats) and len(self._waiting) >= self._queue:
                message = f"{len(self._waiting)} requests wait for the model already; try again later"
                raise too_busy(429, message, _RETRY_SECONDS)
            self._waiting.append(job)
            self._assign()

    def cancel(self, job: Job) -> None:
        """End a job that waits or is being answered; one that waited hears nothing more.

        Not after its last event: the model then gets ready for the next turn.
        """
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
            for seat in self._seats:
                if seat.job is job and seat.begun:
                    seat.model.cancel()
                elif seat.job is job:
                    seat.job = None
            self._assign()

    def stop(self) -> None:
        """Take no more jobs, and end those that there are: they hear that the server is shutting down."""
        with self._changed:
            self._stopping = True
            dropped = list(self._waiting)
            self._waiting.clear()
            for seat in self._seats:
                if seat.job and seat.begun:
                    seat.model.cancel()
                elif seat.job:
                    dropped.append(seat.job)
                    seat.job = None
            self._changed.notify_all()
        for job in dropped:
            job.report(Error(STOPPING))

    def join(self, seconds: float) -> bool:
        """Wait for the threads' end, after `stop`. Whether they ended within so many seconds."""
        end = time.monotonic() + seconds
        threads = [seat.thread for seat in self._seats if seat.thread]
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _assign(self) -> None:
        """Give waiting jobs to idle seats: to the one that knows the conversation, else that is idle for longest."""
        while self._waiting:
            messages = self._waiting[0].messages
            ready = [seat for seat in self._seats if seat.job is None or seat.told]
            seat = max(ready, key=lambda s: (s.knows(messages), not s.job, -s.freed), default=None)
            if seat is None or seat.job:
                break  # there is none, or the one to wait for will be ready in a moment
            seat.job, seat.begun, seat.told = self._waiting.popleft(), False, False
        self._changed.notify_all()

    def _run(self, seat: _Seat) -> None:
        try:
            while (begun := self._next(seat)) is not None:
                job, events = begun
                try:
                    self._answer(seat, job, events)
                except Exception as error:  # whatever it is: a thread that died would be waited for
                    tell_failure("the model", error)
                    with suppress(Exception):
                        events.close()  # the others must not wait for it
                    job.report(Error(FAILED))
                finally:
                    with self._changed:
                        seat.job = None
                        seat.freed = 1 + max(other.freed for other in self._seats)
                        self._assign()
        finally:
            seat.model.close()

    def _next(self, seat: _Seat) -> tuple[Job, Generator[Event, None, None]] | None:
        """The next job, whose reply has begun, so that a cancel from now on is for it; None: no more."""
        with self._changed:
            self._changed.wait_for(lambda: seat.job or self._stopping)
            job = seat.job
            if job is None:
                return None
            seat.begun, seat.last = True, job.messages
            return job, seat.model.generate(self._with_ids(seat.model, job.messages), job.options)

    def _answer(self, seat: _Seat, job: Job, events: Generator[Event, None, None]) -> None:
        for event in events:
            if isinstance(event, Done):
                self._remember(event)
            if isinstance(event, Done | Error):
                with self._changed:
                    seat.told = True
            job.report(event)
            if self._stopping and seat.told:
                return  # there is no next turn to get ready for

    def _with_ids(self, model: Model, messages: list[Message]) -> list[Message]:
        """The messages, with the ids of those that this model has written."""
        vocabulary = model.info.vocab_sha256
        return [
            replace(message, ids=self._said.get(_key(message.content)), vocab_sha256=vocabulary)
            if message.role == "assistant"
            else message
            for message in messages
        ]

    def _remember(self, done: Done) -> None:
        if done.text and done.ids:
            with self._changed:
                self._said[_key(done.text)] = done.ids
                self._said.move_to_end(_key(done.text))
                if len(self._said) > _REMEMBERED:
                    self._said.popitem(last=False)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
