"""The one thread that has the model: it loads it, takes requests one after the other, and reports back."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from assistant.conversation.history import History
from assistant.conversation.recording import Recording
from assistant.conversation.window import as_messages, fit
from assistant.engine.events import Done, Error, Event
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions
from convert.errors import TakebackError
from convert.progress import Progress


class Info(Protocol):
    """What the chat needs to know of a model."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def context_length(self) -> int:
        """In tokens."""

    @property
    def contract(self) -> object | None:
        """None where the model cannot take back."""

    @property
    def note(self) -> str | None:
        """One line for the user, or None."""

    @property
    def vocab_sha256(self) -> str:
        """Of the vocabulary that generated ids belong to."""


class Model(Protocol):
    """What the chat needs of a loaded model; `assistant.engine.session.Session` is one."""

    @property
    def info(self) -> Info:
        """What it is."""

    def generate(
        self, messages: Sequence[Message], options: GenerateOptions | None = None
    ) -> Iterator[Event]:
        """Write the next reply."""

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """The tokens of a conversation."""

    def cancel(self) -> None:
        """Stop the reply, from any thread."""

    def close(self) -> None:
        """Free it."""


Loader = Callable[[Progress], Model]
"""Loads a model, and builds it first where that is needed. Raises TakebackError."""


@dataclass(frozen=True)
class Loading:
    """The model is being built or loaded: what is done now, and how many per cent of it; -1: not known."""

    what: str
    percent: int


@dataclass(frozen=True)
class Loaded:
    """The model is ready."""

    info: Info


@dataclass(frozen=True)
class LoadFailed:
    """There will be no model; one line for the user."""

    message: str


@dataclass(frozen=True)
class LeftOut:
    """So many of the chat's oldest messages did not fit the context."""

    messages: int


@dataclass(frozen=True)
class Problem:
    """Something went wrong beside the reply; one line for the user."""

    message: str


@dataclass(frozen=True)
class Replied:
    """The next event of a request's reply."""

    request: Request
    event: Event


@dataclass(frozen=True)
class Stored:
    """A request's reply has a place in the store: the id of its message."""

    request: Request
    entry: int


Report = Loading | Loaded | LoadFailed | LeftOut | Problem | Stored | Replied


@dataclass(eq=False)
class Request:
    """A chat whose last message waits for a reply."""

    chat: int
    cancelled: threading.Event = field(default_factory=threading.Event)


class ModelThread:
    """Owns the model. `submit` and `cancel` are for any thread; reports come from the model's."""

    def __init__(
        self, load: Loader, report: Callable[[Report], None], options: GenerateOptions | None = None
    ) -> None:
        self._options = options
        self._load = load
        self._report = report
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._history: History | None = None
        self._model: Model | None = None
        self._left_out: dict[int, int] = {}
        self._step: tuple[str, int] | None = None
        self._closing = threading.Event()
        # A thread that is stuck in a long load must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self, history: History) -> None:
        """Begin to load the model. Replies are stored in `history`."""
        self._history = history
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Ask for a reply; it is written once those before it are done."""
        self._requests.put(request)

    def cancel(self, request: Request) -> None:
        """End a request, whether it is being written or waits."""
        request.cancelled.set()
        if self._model is not None:
            self._model.cancel()

    def close(self, seconds: float) -> bool:
        """End the thread; what was shown of a reply is stored. Whether it ended within so many seconds."""
        self._closing.set()
        self._requests.put(None)
        if self._model is not None:
            self._model.cancel()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._model = model = self._load(self._progress)
        except Exception as error:  # whatever it is: a thread that dies in silence would be waited for
            self._report(LoadFailed(line := _line(error)))
            for request in self._waiting():
                self._report(Replied(request, Error(line)))
            return
        try:
            self._report(Loaded(model.info))
            for request in self._waiting():
                try:
                    self._answer(model, request)
                except Exception as error:
                    self._report(Replied(request, Error(_line(error))))
        finally:
            model.close()

    def _waiting(self) -> Iterator[Request]:
        """The requests as they come, until the thread is to end."""
        while (request := self._requests.get()) is not None and not self._closing.is_set():
            yield request

    def _progress(self, what: str, done: int, total: int) -> None:
        """Report how far the load is, once for each per cent: it may be told a thousand times a second."""
        if (step := (what, done * 100 // total if total > 0 else -1)) != self._step:
            self._step = step
            self._report(Loading(*step))

    def _answer(self, model: Model, request: Request) -> None:
        def send(event: Event) -> None:
            self._report(Replied(request, event))

        if request.cancelled.is_set():
            send(_cancelled())
            return
        try:
            messages = self._messages(model, request.chat)
        except TakebackError as error:
            send(Error(str(error)))
            return
        assert self._history is not None
        problem: Callable[[str], None] = lambda line: self._report(Problem(line))  # noqa: E731
        recording = Recording(self._history, request.chat, model.info.vocab_sha256, problem)
        if recording.entry is not None:
            self._report(Stored(request, recording.entry))
        try:
            for event in model.generate(messages, self._options):
                if self._closing.is_set() or request.cancelled.is_set():
                    model.cancel()  # again: it may have come before this reply began
                # The screen first: it should not wait for the disk.
                send(event)
                recording.feed(event)
        finally:
            recording.end()

    def _messages(self, model: Model, number: int) -> list[Message]:
        """What the model sees of a chat."""
        assert self._history is not None
        chat = self._history.chat(number)
        if chat is None:
            raise TakebackError("this chat was deleted meanwhile; press Ctrl+N for a new one")
        entries = self._history.entries(number)
        messages = as_messages(entries, chat.system)
        before = self._left_out.get(number, 0)
        try:
            window = fit(messages, model.count_tokens, model.info.context_length, before)
        except TakebackError:
            # Messages in a row are one to the model, and those not answered before may be what is too long.
            alone = as_messages(entries[-1:], chat.system)
            window = fit(alone, model.count_tokens, model.info.context_length)
            if len(entries) > 1:
                self._report(LeftOut(len(entries) - 1))
            return window.messages
        self._left_out[number] = window.left_out
        if window.left_out > before:
            self._report(LeftOut(window.left_out))
        return window.messages


def _line(error: Exception) -> str:
    """What went wrong, in one line for the user."""
    if isinstance(error, TakebackError):
        return str(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory for the model; close other programs, or ask for less with --ctx"
    return f"the model does not work: {type(error).__name__}: {error}; try another one with --model"


def _cancelled() -> Done:
    return Done("cancelled", "", 0, 0, 0, None, None)
