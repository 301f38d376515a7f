"""The one thread that has the model: it loads it, takes requests one after the other, and reports back."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from assistant.conversation.chosen import of_text, options_with
from assistant.conversation.history import History
from assistant.conversation.recording import Recording
from assistant.conversation.reports import (
    LeftOut,
    Model,
    Problem,
    Recorded,
    Replied,
    Report,
    Request,
    Seen,
    Stored,
)
from assistant.conversation.sight import Sight, see
from assistant.conversation.slot import Loader, Slot, line_of
from assistant.conversation.window import Window, fit
from assistant.described import Value
from assistant.engine.events import Done, Error, Event, Reset
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions
from convert.errors import TakebackError

__all__ = ["LONG", "SECONDS_TO_END", "Loader", "ModelThread", "Shown"]

LONG = 2_000
"""Characters from which on a message is measured before it is stored."""
SECONDS_TO_END = 5.0
"""How long the end of the program waits for the model to stop and its reply to be stored."""

T = TypeVar("T")

Shown = tuple[Sight, list[tuple[str, bool]], int]
"""What the model sees, the prompt in pieces (with whether each is the template's own), and the context's tokens."""


class ModelThread:
    """Owns the model. `submit` and `cancel` are for any thread; reports come from the model's."""

    def __init__(
        self, load: Loader, report: Callable[[Report], None], options: GenerateOptions | None = None
    ) -> None:
        self.options = options  # of replies to come; any thread may set others
        self._slot = Slot(load, report)
        self._latest: str | None = None
        self._report = report
        self._requests: queue.SimpleQueue[Request | Callable[[], None] | None] = queue.SimpleQueue()
        self._history: History | None = None
        self._first_seen: dict[int, int | None] = {}
        self._recorded: Request | None = None
        self._closing = threading.Event()
        # A thread that is stuck in a long load must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self, history: History) -> None:
        """Begin to load the model. Replies are stored in `history`."""
        self._history = history
        self._thread.start()

    def by_name(self, first: str, named: Callable[[str], Loader]) -> None:
        """Let models be loaded by name; `first` is the name of the one that the thread begins with.

        For before `start`.
        """
        self._slot.first, self._slot.named = first, named

    def own_name(self, name: str | None) -> str | None:
        """A model's name as `Loaded` and `LoadFailed` have it: None for the first one."""
        return self._slot.own_name(name)

    def take(self, name: str | None) -> None:
        """Load another model in the place of the one that is loaded, once the requests before are done.

        Before `start`, it is the one to begin with.
        """
        self._latest = name
        if self._thread.ident is not None:
            self._requests.put(lambda: self._take(name))

    def submit(self, request: Request) -> None:
        """Ask for a reply; it is written once those before it are done."""
        self._requests.put(request)

    def ask(self, question: Callable[[Model], T]) -> Future[T]:
        """Have something asked of the model, once the requests before it are done."""
        asked: Future[T] = Future()

        def answer() -> None:
            if asked.set_running_or_notify_cancel():
                try:
                    asked.set_result(question(self._slot.loaded()))
                except Exception as error:
                    asked.set_exception(error)

        self._requests.put(answer)
        return asked

    def measure(self, text: str) -> Future[Window]:
        """Ask whether a message can fit the context by itself; if not, the answer is a TakebackError."""
        alone = [Message("user", text)]
        return self.ask(lambda model: fit(alone, model.count_tokens, model.info.context_length))

    def look(self, chat: int) -> None:
        """Report what the model sees of a chat, if that can be told."""

        def answer() -> None:
            with suppress(Exception):  # whatever it is: nobody waits for it, and the thread must live on
                self._look(self._slot.loaded(), chat)

        self._requests.put(answer)

    def show(self, chat: int, pending: str) -> Future[Shown]:
        """What the model would be sent if the user said `pending` now, the prompt in pieces, and the context."""

        def answer(model: Model) -> Shown:
            sight = self._look(model, chat, pending=pending)
            return sight, model.prompt_parts(sight.messages), model.info.context_length

        return self.ask(answer)

    def show_first(self, pending: str, system: str | None) -> Future[Shown]:
        """The same for a chat that is not begun yet."""

        def answer(model: Model) -> Shown:
            if not pending:
                raise TakebackError("nothing is said yet: write something, and look again")
            messages = [Message("system", system)] if system else []
            messages.append(Message("user", pending))
            window = fit(messages, model.count_tokens, model.info.context_length)
            sight = Sight(window.messages, 0, None, window.tokens)
            return sight, model.prompt_parts(messages), model.info.context_length

        return self.ask(answer)

    @property
    def held(self) -> int:
        """How many tokens are written and held back."""
        model = self._slot.model
        return 0 if model is None else model.held

    def cancel(self, request: Request) -> None:
        """End a request, whether it is being written or waits."""
        request.cancelled.set()
        self._cancel()

    def close(self, seconds: float) -> bool:
        """End the thread; what was shown of a reply is stored. Whether it ended within so many seconds."""
        self._closing.set()
        self._requests.put(None)
        self._cancel()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._slot.take(self._latest)
        try:
            for request in self._waiting():
                try:
                    self._answer(request)
                except Exception as error:
                    self._report(Replied(request, Error(line_of(error))))
                self._report_recorded(request)
        finally:
            self._slot.free()

    def _waiting(self) -> Iterator[Request]:
        """The requests as they come, until the thread is to end. What is asked between them is answered here."""
        while (request := self._requests.get()) is not None and not self._closing.is_set():
            if isinstance(request, Request):
                yield request
            else:
                request()

    def _take(self, name: str | None) -> None:
        if name == self._latest:  # else the user wants another one by now
            self._slot.take(name)

    def _cancel(self) -> None:
        if (model := self._slot.model) is not None:
            model.cancel()

    def _answer(self, request: Request) -> None:
        def send(event: Event) -> None:
            self._report(Replied(request, event))

        if request.cancelled.is_set():
            send(_cancelled())
            return
        try:
            model, chosen = self._chosen(request.chat)
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
        options = options_with(self.options, chosen)
        if request.beginning:
            options = replace(options or GenerateOptions(), prefill=request.beginning)
        try:
            self._report_place(request, recording.entry)
            for event in model.generate(messages, options):
                if self._closing.is_set() or request.cancelled.is_set():
                    model.cancel()  # again: it may have come before this reply began
                # The screen first: it should not wait for the disk.
                send(event)
                recording.feed(event)
                if isinstance(event, Done | Error):
                    self._report_recorded(request)  # at once: what follows is only for the next turn
                if isinstance(event, Reset):
                    request.beginning = ""  # it is taken back as well, and this thread keeps the request
        finally:
            recording.end()

    def _chosen(self, chat: int) -> tuple[Model, dict[str, Value]]:
        """The model of a chat, loaded, and what was chosen for its replies."""
        assert self._history is not None
        stored = self._history.chat(chat)
        chosen = of_text(stored.chosen) if stored else {}
        name = chosen.get("model")
        return self._slot.have(name if isinstance(name, str) else None), chosen

    def _report_recorded(self, request: Request) -> None:
        """Say once that a request is over in the store as well."""
        if self._recorded is not request:
            self._recorded = request
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
        before = self._first_seen.get(request.chat)
        sight = self._look(model, request.chat, request)
        if sight.left_out and sight.first != before:
            self._report(LeftOut(sight.left_out))
        return sight.messages

    def _look(self, model: Model, chat: int, request: Request | None = None, pending: str = "") -> Sight:
        assert self._history is not None
        beginning = request.beginning if request is not None else ""
        more = model.count_tokens([Message("user", beginning)]) if beginning else 0
        context = model.info.context_length
        sight = see(
            self._history,
            chat,
            lambda messages: model.count_tokens(messages) + more,
            context,
            first_before=self._first_seen.get(chat),
            before=request.instead_of if request is not None else None,
            pending=pending,
        )
        if request is not None:
            self._first_seen[chat] = sight.first
        if not pending:
            self._report(Seen(chat, sight.tokens, context, sight.first))
        return sight


def _cancelled() -> Done:
    return Done("cancelled", "", 0, 0, 0, None, None)
