"""The one thread that has the model: it loads it, takes requests one after the other, and reports back."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from assistant.conversation.history import History
from assistant.conversation.recording import Recording
from assistant.conversation.window import as_messages, fit
from assistant.engine.events import Done, Error, Event
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions
from assistant.tui.reports import (
    LeftOut,
    Loaded,
    LoadFailed,
    Loading,
    Model,
    Problem,
    Recorded,
    Replied,
    Report,
    Request,
    Stored,
)
from convert.errors import TakebackError
from convert.progress import Progress

T = TypeVar("T")

Loader = Callable[[Progress], Model]
"""Loads a model, and builds it first where that is needed. Raises TakebackError."""


class ModelThread:
    """Owns the model. `submit` and `cancel` are for any thread; reports come from the model's."""

    def __init__(
        self, load: Loader, report: Callable[[Report], None], options: GenerateOptions | None = None
    ) -> None:
        self._options = options
        self._load = load
        self._report = report
        self._requests: queue.SimpleQueue[Request | Callable[[Model], None] | None] = queue.SimpleQueue()
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

    def ask(self, question: Callable[[Model], T]) -> Future[T]:
        """Have something asked of the model, once the requests before it are done."""
        asked: Future[T] = Future()

        def answer(model: Model) -> None:
            if asked.set_running_or_notify_cancel():
                try:
                    asked.set_result(question(model))
                except Exception as error:
                    asked.set_exception(error)

        self._requests.put(answer)
        return asked

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
            for request in self._waiting(None):
                self._report(Replied(request, Error(line)))
            return
        try:
            self._report(Loaded(model.info))
            for request in self._waiting(model):
                try:
                    self._answer(model, request)
                except Exception as error:
                    self._report(Replied(request, Error(_line(error))))
        finally:
            model.close()

    def _waiting(self, model: Model | None) -> Iterator[Request]:
        """The requests as they come, until the thread is to end. What is asked between them is answered here."""
        while (request := self._requests.get()) is not None and not self._closing.is_set():
            if isinstance(request, Request):
                yield request
            elif model is not None:  # nobody asks without a model
                request(model)

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
            self._report(Recorded(request))
            return
        try:
            messages = self._messages(model, request)
        except TakebackError as error:
            send(Error(str(error)))
            return
        assert self._history is not None
        problem: Callable[[str], None] = lambda line: self._report(Problem(line))  # noqa: E731
        recording = Recording(
            self._history,
            request.chat,
            model.info.vocab_sha256,
            problem,
            instead_of=request.instead_of,
            beginning=request.beginning,
        )
        options = replace(self._options or GenerateOptions(), prefill=request.beginning)
        try:
            self._report_place(request, recording.entry)
            for event in model.generate(messages, options if request.beginning else self._options):
                if self._closing.is_set() or request.cancelled.is_set():
                    model.cancel()  # again: it may have come before this reply began
                # The screen first: it should not wait for the disk.
                send(event)
                recording.feed(event)
        finally:
            recording.end()
            self._report(Recorded(request))

    def _report_place(self, request: Request, entry: int | None) -> None:
        """Say where the reply is stored. One that goes on with another will be a version less: it replaces it."""
        assert self._history is not None
        if entry is None:
            return
        stored = None
        if request.instead_of is not None:
            with suppress(TakebackError):
                stored = self._history.entry(entry)
        less = bool(request.beginning)
        place = (stored.version - less, stored.versions - less) if stored else (1, 1)
        self._report(Stored(request, entry, *place))

    def _messages(self, model: Model, request: Request) -> list[Message]:
        """What the model sees of a chat."""
        assert self._history is not None
        number = request.chat
        chat = self._history.chat(number)
        if chat is None:
            raise TakebackError("this chat was deleted meanwhile; press Ctrl+N for a new one")
        entries = self._history.entries(number, before=request.instead_of)
        messages = as_messages(entries, chat.system)
        before = self._left_out.get(number, 0)
        more = model.count_tokens([Message("user", request.beginning)]) if request.beginning else 0

        def count(messages: Sequence[Message]) -> int:
            return model.count_tokens(messages) + more

        try:
            window = fit(messages, count, model.info.context_length, before)
        except TakebackError:
            # Messages in a row are one to the model, and those not answered before may be what is too long.
            alone = as_messages(entries[-1:], chat.system)
            window = fit(alone, count, model.info.context_length)
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
