"""One chat at a time in a line terminal: where it stands, and how a reply to it is waited for."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from types import FrameType

from assistant.conversation.export import REMARKS
from assistant.conversation.history import History
from assistant.conversation.model_thread import ModelThread
from assistant.conversation.records import CUT_OFF, Chat
from assistant.conversation.reports import (
    LeftOut,
    Loaded,
    LoadFailed,
    Loading,
    Problem,
    Recorded,
    Replied,
    Report,
    Request,
    Seen,
)
from assistant.described import Value
from assistant.engine.events import Done, Error, Event
from assistant.plain.lines import Lines
from assistant.plain.voice import Voice
from convert.errors import TakebackError
from convert.untrusted import clean_line

SECONDS_OF_SILENCE = 20.0
"""After so long a reply that is being written is said to be so, and then again."""
NEARLY_FULL = 0.75
"""The part of the context from which on it is told how full it is."""


class Talk:
    """What the commands of the line mode work on."""

    def __init__(
        self, history: History, model: ModelThread, reports: SimpleQueue[Report], lines: Lines
    ) -> None:
        """`model` puts its reports into `reports`."""
        self.history = history
        self.model = model
        self.lines = lines
        self.system: str | None = None
        """For a chat that is not begun yet; `chosen` is too."""
        self.chosen: dict[str, Value] = {}
        self.stream = False
        self.chat: int | None = None
        self.editing: int | None = None
        """The message of the user that is being said anew."""
        self.deleted: list[Chat] = []
        """The chats that can be brought back, the last one deleted at the end."""
        self.failed = False
        """Whether a reply or a command failed."""
        self.ended = False
        """Whether the user wants to leave."""
        self._reports = reports
        self._started = False
        self._loaded: bool | None = None
        self._told = ""
        """The model that was told last."""
        self._just_told = ""
        """Why there is no model, where that was told since the last message."""
        self._step = ""
        self._meter = (0, 0)

    # The model

    def start_model(self) -> None:
        """Begin to load the model, unless that was begun."""
        if not self._started:
            self._started = True
            self.model.start(self.history)

    def use_model(self, name: str | None) -> bool:
        """Load a model, if it is not the one that is here, and wait for it; whether there is one."""
        self.await_model()
        self._loaded = None
        self.model.take(name)
        return self.await_model()

    def await_model(self) -> bool:
        """Wait until the model is loaded, and say what it is doing; whether there is one."""
        self.start_model()
        while self._loaded is None:
            self._take(self._reports.get())
        return self._loaded

    def look_around(self) -> None:
        """Say what was reported meanwhile."""
        with suppress(Empty):
            while True:
                self._take(self._reports.get_nowait())

    # Replies

    def reply(self, request: Request) -> None:
        """Have a reply written and stored, and write it. Ctrl-C stops it; what was shown of it is kept."""
        self.start_model()
        self._just_told = ""
        voice = Voice(sys.stdout, stream=self.stream, beginning=request.beginning)
        with self._stopping(request):
            self.model.submit(request)
            said_at = time.monotonic()
            for report in self._until_recorded(request):
                if isinstance(report, Replied) and report.request is request:
                    self._say(voice, report.event)
                    if isinstance(report.event, Done | Error):
                        continue
                elif report is not None:
                    self._take(report)
                now = time.monotonic()
                if not self._loaded:
                    said_at = now
                elif now - said_at >= SECONDS_OF_SILENCE:
                    self.note(
                        f"Still writing: {self._progress(voice)}. Ctrl-C stops it and keeps what is settled"
                    )
                    said_at = now
        if request.cancelled.is_set() and not self.lines.terminal:
            raise KeyboardInterrupt  # a script stops as a whole

    def _until_recorded(self, request: Request) -> Iterator[Report | None]:
        """The reports until a request is over in the store as well; None now and then, where there is none."""
        while True:
            try:
                report = self._reports.get(timeout=1.0)
            except Empty:
                if request.cancelled.is_set() and self._loaded is None:
                    self.note("The model is still loading. Your message is stored; /again asks for a reply")
                    return
                yield None
                continue
            if isinstance(report, Recorded) and report.request is request:
                return
            yield report

    def _progress(self, voice: Voice) -> str:
        return f"about {voice.waiting // 6 + self.model.held} words, not shown yet"

    def _say(self, voice: Voice, event: Event) -> None:
        voice.take(event)
        if isinstance(event, Error) and event.message != self._just_told:
            self.problem(event.message)
        elif isinstance(event, Done):
            self._remark(event, voice.shown_resets)

    def _remark(self, done: Done, shown_resets: int) -> None:
        """Say in words what a reader should know of a reply that is over."""
        if done.reason == "reset_limit":
            drafts = "its draft" if done.resets == 1 else f"all {done.resets} drafts"
            self.note(f"The assistant took back {drafts} and has no answer. Nothing was sent anywhere")
            return
        if unseen := done.resets - shown_resets:
            self.note(f"{unseen} draft{'s' * (unseen > 1)} taken back before any of it was shown")
        if remark := REMARKS.get(done.reason):
            self.note(remark + "; /continue goes on with it" * (done.reason in CUT_OFF and bool(done.text)))

    def _take(self, report: Report) -> None:
        """Say what was reported beside a reply."""
        match report:
            case Loading(what, _) if what != self._step:
                self._step = what
                self.note(f"{what[:1].upper()}{what[1:]}")
            case Loaded(info):
                self._loaded = True
                if info.name != self._told:
                    takes_back = "it takes back" if info.contract is not None else "it cannot take back"
                    note = f"; {info.note}" if info.note else ""
                    self.note(f"The model is {info.name}: {takes_back} what goes wrong{note}")
                self._told = info.name
            case LoadFailed(message):
                self._loaded, self._told, self._just_told = False, "", message
                self.problem(message)
            case LeftOut():
                self.note(f"{report.told}. /prompt shows what it sees")
            case Seen(chat, tokens, context, _) if chat == self.chat:
                if tokens > context * NEARLY_FULL and self._meter != (tokens, context):
                    self.note(f"{tokens:,} of {context:,} tokens of the context are used")
                self._meter = (tokens, context)
            case Problem(message):
                self.problem(message)

    @contextmanager
    def _stopping(self, request: Request) -> Iterator[None]:
        """Have Ctrl-C stop the reply, and a second one leave the program."""

        def stop(_number: int, _frame: FrameType | None) -> None:
            if request.cancelled.is_set():
                raise KeyboardInterrupt
            self.model.cancel(request)

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    # Words

    def say(self, text: str) -> None:
        """Write what was asked for. It must be clean."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Write a remark of the program's own, in brackets."""
        with suppress(OSError):
            sys.stderr.write(f"[{clean_line(text)}]\n")
            sys.stderr.flush()

    def problem(self, error: str | TakebackError) -> None:
        """Say that something could not be done."""
        self.failed = True
        self.note(str(error))
