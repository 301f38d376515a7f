"""The half of the chat's screen that shows what the model reports."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path, PurePath

from textual.message import Message
from textual.screen import Screen

from assistant.conversation.history import History
from assistant.conversation.model_thread import Loader, ModelThread
from assistant.conversation.recording import came_to_nothing
from assistant.conversation.records import Chat, Entry
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
    Stored,
)
from assistant.engine.events import Done, Error, Event, Prefill, Reset, Text
from assistant.engine.options import GenerateOptions
from assistant.tui import logbook
from assistant.tui.keys import Keymap
from assistant.tui.pace import Pace
from assistant.tui.rate import Rate
from assistant.tui.widgets.lines import Header, StatusLine
from assistant.tui.widgets.message import MessageView, Notice
from assistant.tui.widgets.prompt import Prompt
from assistant.tui.widgets.transcript import Transcript
from convert.errors import TakebackError

CANNOT_TAKE_BACK = "it cannot take back what it says, and runs as an ordinary model"
REDRAWS_A_SECOND = 30
MESSAGES_A_PAGE = 50
MESSAGES_ABOVE_A_HIT = 10
SECONDS_FOR_A_WORD = 2.0


class ReplyingScreen(Screen[None]):
    """One chat with its replies."""

    class Reported(Message):
        """The model's thread has put reports into the queue."""

    def __init__(
        self, load: Loader, database: Path, model_name: str, options: GenerateOptions | None
    ) -> None:
        """`model_name` is shown until the model is loaded."""
        super().__init__()
        self._database = database
        self._model_name = model_name
        self._history: History | None = None
        self._chat: int | None = None
        self._deleted: list[Chat] = []
        self._request: Request | None = None
        self._shown_otherwise: Request | None = None
        self._to_say = ""
        self._ready = False
        self._wanted: str | None = None
        """The model that is to answer here, as reports name it."""
        self._takes_back = False
        self._state: tuple[str, str] = ("Starting…", "")
        self._unseen_resets = 0
        self._meter = (0, 0)
        self._redraws = Pace(self._redraw, REDRAWS_A_SECOND, self.set_timer)
        self._reports: deque[Report] = deque()
        self._model = ModelThread(load, self._receive, options)
        self._state_since = 0.0
        self._rate = Rate()
        self.keymap = Keymap()
        self.log_file: Path | None = None

    # Reports

    def _receive(self, report: Report) -> None:
        """Queue a report, from the model's thread; the screen is woken only where it does not know of any."""
        logbook.note(report)
        self._reports.append(report)
        # Asked after, not before: else the screen may have taken the last one in between, and sleeps for good.
        if len(self._reports) == 1:
            self.post_message(self.Reported())

    async def on_replying_screen_reported(self) -> None:
        """Take all reports that there are, in order."""
        while self._reports:
            report = self._reports[0]
            await self._take(report)
            # Last, so that a report that comes meanwhile need not wake the screen.
            self._reports.popleft()
        self._redraws.soon()

    async def _take(self, report: Report) -> None:
        match report:
            case Replied(request, event):
                if request is self._request:
                    await self._reply(event)
            case Stored(request, entry, version, versions):
                if request is self._request and (live := self._transcript.live) is not None:
                    live.entry, live.place = entry, (version, versions)
            case Seen(chat, tokens, context, first):
                if chat == self._chat:
                    self._meter = (tokens, context)
                    self._show_keys()
                    await self._transcript.mark_boundary(first)
            case Recorded(request):
                self._look_at_chat()
                if request is self._shown_otherwise:
                    await self._again(request.chat)
            case LeftOut():
                await self._transcript.add(Notice(report.told))
            case Problem(message):
                await self._transcript.add(Notice(message))
            case Loading() | Loaded() | LoadFailed():
                await self._take_loading(report)

    async def _take_loading(self, report: Loading | Loaded | LoadFailed) -> None:
        match report:
            case Loading(what, percent):
                part = f" {percent} %" if percent >= 0 else ""
                self._show_state(f"{what[:1].upper()}{what[1:]}{part}")
            case Loaded(info, name) if name == self._wanted:
                self._ready = True
                self._model_name = info.name if name is None else called(name)
                self._takes_back = info.contract is not None
                self._show_model()
                self._show_state("Thinking…" if self._request else "Ready")
                self._look_at_chat()
                if note := info.note or ("" if self._takes_back else CANNOT_TAKE_BACK):
                    await self._transcript.add(Notice(f"{self._model_name}: {note}"))
            case LoadFailed(message, name) if name == self._wanted:
                await self._settle(Error(message))
                await self._transcript.add(Notice(message))
                self._show_state("No model: what you write is stored, and not answered", "$text-error")

    def _show_model(self) -> None:
        """Say above the chat which model it is, and whether it takes back, where that is known."""
        self.query_one(Header).show_model(self._model_name, self._takes_back if self._ready else None)

    async def _reply(self, event: Event) -> None:
        match event:
            case Prefill(done, total):
                self._show_state(f"Reading {done:,} of {total:,} tokens")
            case Text(text) if self._transcript.live is not None:
                self._transcript.live.append(text)
                self._rate.tick()
                if self._state[0].startswith(("Thinking", "Reading")):
                    self._show_state("Writing…")
            case Reset():
                if event.discarded is not None:
                    await self._transcript.keep_draft(event.discarded)
                if event.shown_chars or event.shown_prefill_chars:
                    await self._transcript.take_back()
                else:
                    self._unseen_resets += 1
                    self._show_keys()
                self._show_state("Thinking…")
            case Done() | Error():
                await self._settle(event)

    async def _settle(self, event: Done | Error) -> None:
        """Finish the reply on the screen; the model's thread has it in the store."""
        if self._request is None or (live := self._transcript.live) is None:
            return
        request = self._request
        if isinstance(event, Done):
            text, reason, resets, self._to_say = event.text, str(event.reason), event.resets, ""
        else:
            text, reason, resets, self._to_say = live.said, "error", live.shown_resets, event.message
        view = await asyncio.to_thread(
            MessageView.of_model,
            text,
            reason=reason,
            resets=resets,
            shown_resets=live.shown_resets,
            entry=live.entry,
            place=live.place,
            drawn=live.drawn,
        )
        if self._request is not request or self._transcript.live is not live:
            return  # the user left this chat meanwhile
        self._request = None
        self._show_keys()
        if came_to_nothing(request.instead_of, request.beginning, text, resets):
            self._shown_otherwise = request
        if isinstance(event, Error):
            self._show_state("Unfinished" if live.said else "No reply", "$text-error")
            # What was said stays, as it does in the store.
            await self._transcript.settle(*([view] if live.said else []), Notice(event.message))
            return
        await self._transcript.settle(view)
        word = {"cancelled": "Stopped", "reset_limit": "Taken back"}.get(event.reason, "Ready")
        speed = f" · {event.tokens_per_s:.1f} tokens/s" if event.tokens_per_s else ""
        self._show_state(word + speed)

    async def _again(self, chat: int) -> None:
        """Show a chat as it is stored, if it is still the one that is shown."""
        self._shown_otherwise = None
        if chat == self._chat and self._request is None:
            try:
                await self._show_chat(chat)
            except TakebackError as error:
                self._show_problem(error)
            if self._to_say:
                await self._transcript.add(Notice(self._to_say))

    # What is seen

    async def _ask(self, request: Request) -> None:
        """Ask the model for a reply."""
        self._unseen_resets = 0
        self._rate.clear()
        self._request = request
        await self._transcript.begin_reply()
        if self._request is request:  # else the user left this chat meanwhile
            self._model.submit(request)  # not before: what fails at once would find no reply to settle
        self._transcript.anchor()
        if self._ready:
            self._show_state("Thinking…")
        self._show_keys()

    async def _show_chat(self, chat: int, message: int | None = None) -> None:
        """Show a chat at its end, or where a message of it is. A reply that is being written stops.

        Raises:
            TakebackError: it cannot be read.
        """
        if self._history is None:
            return
        if message is not None:
            await asyncio.to_thread(self._history.show_branch, message)
        limit = MESSAGES_A_PAGE if message is None else -1
        entries = await asyncio.to_thread(self._history.entries, chat, limit=limit)
        entries, more = _page(entries, message)
        views = await self._views(entries)
        if self._request is not None:
            self._model.cancel(self._request)
            self._request = None
        self._chat = chat
        self._meter = (0, 0)
        self._look_at_chat()
        await self._transcript.show(views, more_below=more)
        if message is not None:
            self._transcript.go_to(message)
        self._show_keys()

    async def _show_entries(self, entries: Sequence[Entry]) -> None:
        await self._transcript.show(await self._views(entries))

    async def _views(self, entries: Sequence[Entry]) -> list[MessageView]:
        """What shows these messages, laid out beside the screen's thread."""
        return await asyncio.to_thread(MessageView.of_entries, entries, self._transcript.room)

    @property
    def _transcript(self) -> Transcript:
        return self.query_one(Transcript)

    @property
    def _prompt(self) -> Prompt:
        return self.query_one(Prompt)

    def _redraw(self) -> None:
        if (live := self._transcript.live) is not None:
            live.redraw()

    def _show_state(self, text: str, style: str = "") -> None:
        self._state, self._state_since = (text, style), time.monotonic()
        self.query_one(StatusLine).show_state(text, style, unseen=self._unseen_resets, width=self.size.width)

    def _show_problem(self, error: TakebackError) -> None:
        """Say in the status line that something could not be done."""
        logbook.LOG.warning("%s", logbook.gist(str(error)))
        self._show_state(str(error), "$text-error")

    def _show_keys(self) -> None:
        line = self.query_one(StatusLine)
        writing, counts = self._request is not None, self._unseen_resets > 0
        line.show_keys(self.keymap, writing=writing, counts=counts, width=self.size.width)
        line.show_meter(*self._meter, width=self.size.width)

    def _show_progress(self) -> None:
        """Say how fast a reply is written, or, while nothing of it is shown, count what is, quietly.

        Another word in that place is left there for a moment.
        """
        live, word = self._transcript.live, self._state[0]
        if self._request is None or live is None or self._request.cancelled.is_set():
            return
        if live.said:
            speed = self._rate.per_second
            writing = "Writing…" if speed is None else f"Writing… {speed:.0f} tokens/s"
            read = time.monotonic() - self._state_since > SECONDS_FOR_A_WORD
            if word != writing and (word.startswith("Writing") or read):
                self._show_state(writing)
        elif (held := self._model.held) and word.startswith(("Thinking", "Reading")):
            self._show_state(f"Thinking… {held} token{'s' * (held > 1)} held back")

    def _look_at_chat(self) -> None:
        """Have it measured what the model sees of this chat."""
        if self._ready and self._chat is not None:
            self._model.look(self._chat)


def called(name: str) -> str:
    """A model's name for people: of a file, that is its own without its folders."""
    return PurePath(name).name or name


def _page(entries: list[Entry], message: int | None) -> tuple[list[Entry], bool]:
    """The entries from a little before a message on, and whether more follow; all where it is not among them."""
    places = [place for place, entry in enumerate(entries) if entry.id == message]
    if not places:
        return entries, False
    first = max(0, places[0] - MESSAGES_ABOVE_A_HIT)
    end = first + MESSAGES_A_PAGE
    return entries[first:end], end < len(entries)
