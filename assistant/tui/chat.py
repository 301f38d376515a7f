"""The chat's screen: what the user does becomes requests, what the model reports becomes what is seen."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen

from assistant.conversation.history import History
from assistant.conversation.records import Entry
from assistant.engine.events import Done, Error, Event, Prefill, Reset, Text
from assistant.engine.options import GenerateOptions
from assistant.tui.model_thread import (
    LeftOut,
    Loaded,
    Loader,
    LoadFailed,
    Loading,
    ModelThread,
    Problem,
    Replied,
    Report,
    Request,
)
from assistant.tui.pace import Pace
from assistant.tui.widgets.lines import Header, StatusLine
from assistant.tui.widgets.message import MessageView, Notice
from assistant.tui.widgets.prompt import Prompt
from assistant.tui.widgets.transcript import Transcript
from convert.errors import TakebackError

REDRAWS_A_SECOND = 30
MESSAGES_A_PAGE = 50
SECONDS_TO_END = 5.0
"""How long quitting waits for the model to stop and its reply to be stored."""


class ChatScreen(Screen[None]):
    """One chat at a time, the last one first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop", show=False),
        Binding("ctrl+n", "new_chat", "New chat", show=False, priority=True),
        Binding("ctrl+c", "interrupt", "Copy, or stop", show=False, priority=True),
        Binding("pageup", "page(-1)", "Back", show=False, priority=True),
        Binding("pagedown", "page(1)", "Forward", show=False, priority=True),
        Binding("ctrl+end", "latest", "To the latest", show=False, priority=True),
    ]

    class Reported(Message):
        """The model's thread has put reports into the queue."""

    def __init__(
        self,
        load: Loader,
        database: Path,
        system: str | None,
        model_name: str,
        options: GenerateOptions | None,
        begin_new: bool,
    ) -> None:
        """`system` is for the chats begun here; `model_name` is shown until the model is loaded.

        `begin_new` begins a new chat instead of showing the last one.
        """
        super().__init__()
        self._database = database
        self._system = system
        self._begin_new = begin_new
        self._model_name = model_name
        self._history: History | None = None
        self._chat: int | None = None
        self._request: Request | None = None
        self._ready = False
        self._state: tuple[str, str] = ("Starting…", "")
        self._unseen_resets = 0
        self._redraws = Pace(self._redraw, REDRAWS_A_SECOND, self.set_timer)
        self._reports: deque[Report] = deque()
        self._model = ModelThread(load, self._receive, options)

    # Start and end

    def compose(self) -> ComposeResult:
        """The screen, from top to bottom."""
        yield Header()
        yield Transcript()
        yield Prompt()
        yield StatusLine()

    def on_mount(self) -> None:
        """Paint first; everything that takes time comes after."""
        self.query_one(Header).show_model(self._model_name, None)
        self._show_state("Starting…")
        self.query_one(Prompt).focus()
        self.call_after_refresh(self._start)

    @work
    async def _start(self) -> None:
        try:
            history, self._chat, entries = await asyncio.to_thread(self._open)
        except TakebackError as error:
            self._show_state("No chats: they cannot be stored", "$text-error")
            await self._transcript.show([Notice(str(error))])
            return
        await self._transcript.show([MessageView.of_entry(entry) for entry in entries])
        self._show_state("Loading the model…")
        self._history = history  # last: until then the user can send nothing
        self._model.start(history)

    def _open(self) -> tuple[History, int | None, list[Entry]]:
        """Open the store, and read the end of the chat to show, if there is one. Not for the screen's thread.

        Raises:
            TakebackError: the store cannot be used.
        """
        history = History(self._database)
        try:
            last = [] if self._begin_new else history.chats(1)
            chat = last[0].id if last else None
            return history, chat, [] if chat is None else history.entries(chat, limit=MESSAGES_A_PAGE)
        except TakebackError:
            history.close()
            raise

    def on_resize(self) -> None:
        """Show the keys that there is room for."""
        self._show_keys()

    def end(self) -> bool:
        """Stop the model and close the store; whether the model's thread has ended."""
        ended = self._model.close(SECONDS_TO_END)
        if self._history is not None and ended:
            self._history.close()
        return ended

    # What the user does

    async def on_prompt_sent(self, message: Prompt.Sent) -> None:
        """Store what the user wrote, show it, and ask for a reply. Only then the prompt is emptied."""
        if self._history is None:
            return  # it is not open yet, or the screen says why it cannot be
        if self._request is not None:
            self._show_state("Not yet: wait for this reply, or press Esc to stop it", "$text-warning")
            return
        prompt, text = self.query_one(Prompt), message.text.strip()
        try:
            if self._chat is None:
                chat, entry = await asyncio.to_thread(self._history.new_chat, text, self._system)
            else:
                chat = self._chat
                entry = await asyncio.to_thread(self._history.say, chat, text)
        except TakebackError as error:
            await self._transcript.add(Notice(f"Not sent: {error}"))
            return
        self._chat = chat
        prompt.clear()
        await self._transcript.add(MessageView.of_user(text, entry))
        await self._ask(chat)

    async def _ask(self, chat: int) -> None:
        self._unseen_resets = 0
        self._request = self._model.submit(chat)
        await self._transcript.begin_reply()
        self._transcript.anchor()
        if self._ready:
            self._show_state("Thinking…")
        self._show_keys()

    def action_stop(self) -> None:
        """Stop the reply and keep what was shown of it."""
        if self._request is not None:
            self._show_state("Stopping…")
            self._model.cancel(self._request)

    def action_interrupt(self) -> None:
        """Copy what is selected, else stop the reply, else say how to quit."""
        if selected := self.query_one(Prompt).selected_text or self.get_selected_text():
            self.app.copy_to_clipboard(selected)
            self._show_state("Copied, if this terminal allows it")
        elif self._request is not None:
            self.action_stop()
        else:
            self._show_state("Ctrl+Q quits")

    async def action_new_chat(self) -> None:
        """Begin a new chat; a reply that is being written stops, and what was shown of it is kept."""
        if self._history is None:
            return
        self.action_stop()
        self._request = self._chat = None
        self._show_state("New chat" if self._ready else self._state[0])
        await self._transcript.show([])
        self._show_keys()

    def action_page(self, pages: int) -> None:
        """Scroll the messages, from the prompt."""
        scroll = self._transcript.scroll_page_up if pages < 0 else self._transcript.scroll_page_down
        scroll(animate=False)

    def action_latest(self) -> None:
        """Go to the end and follow it again."""
        self._transcript.anchor()

    async def on_transcript_reached_top(self) -> None:
        """Show older messages of this chat, if there are any."""
        chat, before = self._chat, self._transcript.oldest
        if self._history is None or chat is None or before is None:
            return
        try:
            older = await asyncio.to_thread(self._history.entries, chat, before=before, limit=MESSAGES_A_PAGE)
        except TakebackError as error:
            await self._transcript.add(Notice(str(error)))
            self._show_state("Older messages cannot be read", "$text-error")  # the notice may be out of view
            return
        if older and chat == self._chat:  # else the user has begun a new chat meanwhile
            await self._transcript.prepend([MessageView.of_entry(entry) for entry in older])

    # What the model reports

    def _receive(self, report: Report) -> None:
        """Queue a report, from the model's thread; the screen is woken only where it does not know of any."""
        asleep = not self._reports
        self._reports.append(report)
        if asleep:
            self.post_message(self.Reported())

    async def on_chat_screen_reported(self) -> None:
        """Take all reports that there are, in order."""
        while self._reports:
            report = self._reports[0]
            await self._take(report)
            # Last, so that a report that comes meanwhile need not wake the screen.
            self._reports.popleft()
        self._redraws.soon()

    async def _take(self, report: Report) -> None:
        match report:
            case Loading(what, percent):
                part = f" {percent} %" if percent >= 0 else ""
                self._show_state(f"{what[:1].upper()}{what[1:]}{part}")
            case Loaded(info):
                self._ready = True
                self._model_name = info.name
                self.query_one(Header).show_model(info.name, info.contract is not None)
                self._show_state("Thinking…" if self._request else "Ready")
                if info.note:
                    await self._transcript.add(Notice(info.note))
            case LoadFailed(message):
                await self._settle(Error(message))
                await self._transcript.add(Notice(message))
                self._show_state("No model: what you write is stored, and not answered", "$text-error")
            case LeftOut(messages):
                what = "the first message" if messages == 1 else f"the first {messages} messages"
                text = f"The model no longer sees {what}: the context is full"
                await self._transcript.add(Notice(text))
            case Problem(message):
                await self._transcript.add(Notice(message))
            case Replied(request, event):
                if request is self._request:
                    await self._reply(event)

    async def _reply(self, event: Event) -> None:
        match event:
            case Prefill(done, total):
                self._show_state(f"Reading {done:,} of {total:,} tokens")
            case Text(text) if self._transcript.live is not None:
                self._transcript.live.append(text)
                if self._state[0] != "Writing…":
                    self._show_state("Writing…")
            case Reset():
                if event.shown_chars or event.shown_prefill_chars:
                    await self._transcript.take_back()
                else:
                    self._unseen_resets += 1
                self._show_state("Thinking…")
            case Done() | Error():
                await self._settle(event)

    async def _settle(self, event: Done | Error) -> None:
        """Finish the reply on the screen; the model's thread has it in the store."""
        if self._request is None or (live := self._transcript.live) is None:
            return
        self._request = None
        self._show_keys()
        if isinstance(event, Error):
            self._show_state("Unfinished" if live.said else "No reply", "$text-error")
            seen, views = live.shown_resets, []
            if live.said:  # it stays, as it does in the store
                views = [MessageView.of_model(live.said, reason="error", resets=seen, shown_resets=seen)]
            await self._transcript.settle(*views, Notice(event.message))
            return
        view = MessageView.of_model(
            event.text,
            reason=event.reason,
            resets=event.resets,
            shown_resets=live.shown_resets,
        )
        await self._transcript.settle(view)
        word = {"cancelled": "Stopped", "reset_limit": "Taken back"}.get(event.reason, "Ready")
        speed = f" · {event.tokens_per_s:.1f} tokens/s" if event.tokens_per_s else ""
        self._show_state(word + speed)

    # What is seen

    @property
    def _transcript(self) -> Transcript:
        return self.query_one(Transcript)

    def _redraw(self) -> None:
        if (live := self._transcript.live) is not None:
            live.redraw()

    def _show_state(self, text: str, style: str = "") -> None:
        self._state = (text, style)
        unseen = self._unseen_resets
        count = f" · {unseen} unseen draft{'s' * (unseen > 1)} taken back" if unseen else ""
        self.query_one(StatusLine).show_state(text + count, style)

    def _show_keys(self) -> None:
        self.query_one(StatusLine).show_keys(writing=self._request is not None, width=self.size.width)
