"""The chat's screen: it starts and ends here, and goes from one chat to another."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from assistant.conversation.attachments import with_files
from assistant.conversation.history import History
from assistant.conversation.model_thread import Loader
from assistant.conversation.records import Entry
from assistant.engine.options import GenerateOptions
from assistant.tui import pages
from assistant.tui.chats import ChatsScreen, Opening
from assistant.tui.composing import ComposingScreen
from assistant.tui.replying import MESSAGES_A_PAGE
from assistant.tui.widgets.ask import AskLine
from assistant.tui.widgets.lines import Header, StatusLine
from assistant.tui.widgets.message import MessageView, Notice
from assistant.tui.widgets.page import Page
from assistant.tui.widgets.prompt import Prompt
from assistant.tui.widgets.suggestions import Suggestions
from assistant.tui.widgets.transcript import Transcript
from convert.errors import TakebackError

SECONDS_BETWEEN_COUNTS = 0.25
SECONDS_TO_END = 5.0
"""How long quitting waits for the model to stop and its reply to be stored."""


class ChatScreen(ComposingScreen):
    """One chat at a time, the last one first."""

    AUTO_FOCUS: ClassVar[str | None] = "Prompt"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+n", "new_chat", "New chat", show=False, priority=True),
        Binding("ctrl+o", "chats", "Chats", show=False, priority=True),
        Binding("f1", "help", "Keys", show=False, priority=True),
        Binding("pageup", "page(-1)", "Back", show=False, priority=True),
        Binding("pagedown", "page(1)", "Forward", show=False, priority=True),
        Binding("ctrl+end", "latest", "To the latest", show=False, priority=True),
    ]

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
        super().__init__(load, database, model_name, options, system)
        self._begin_new = begin_new

    # Start and end

    def compose(self) -> ComposeResult:
        """The screen, from top to bottom."""
        yield Header()
        yield Transcript()
        suggestions = Suggestions()
        yield suggestions
        yield Prompt(suggestions)
        yield Static("", markup=False, id="attached")
        yield StatusLine()

    def on_mount(self) -> None:
        """Paint first; everything that takes time comes after."""
        self.query_one(Header).show_model(self._model_name, None)
        self._show_state("Starting…")
        self._prompt.focus()
        self.call_after_refresh(self._start)
        self.set_interval(SECONDS_BETWEEN_COUNTS, self._show_held)

    @work
    async def _start(self) -> None:
        try:
            history, self._chat, entries = await asyncio.to_thread(self._open)
        except TakebackError as error:
            self._show_state("No chats: they cannot be stored", "$text-error")
            await self._transcript.show([Notice(str(error))])
            return
        await self._show_entries(entries)
        self._show_state("Loading the model…")
        self._history = history  # last: until then the user can send nothing
        self._model.start(history)
        await self._bring_unsent(carry=True)

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
        if self._history is not None:
            with suppress(TakebackError):
                self._store_unsent(self._history)
            if ended:
                self._history.close()
        return ended

    # From chat to chat

    async def action_new_chat(self) -> None:
        """Begin a new chat; a reply that is being written stops, and what was shown of it is kept."""
        if self._history is None:
            return
        if self._request is not None:
            self.action_stop()
        self._end_editing()
        self._request = None
        self._leave(self._prompt.text)
        self._chat, self._meter = None, (0, 0)
        await self._bring_unsent(carry=True)
        self._show_state("New chat" if self._ready else self._state[0])
        await self._show_entries([])
        self._show_keys()
        self._prompt.focus()

    def action_chats(self, words: str = "") -> None:
        """List the chats, those with these words in them where there are any."""
        if self._history is not None:
            self.app.push_screen(ChatsScreen(self._history, self._deleted, words), self._chosen)

    async def _chosen(self, opening: Opening | None) -> None:
        """Go to the chat that was chosen, and away from one that was deleted."""
        if opening is None:
            if self._chat in [chat.id for chat in self._deleted]:
                await self.action_new_chat()
            return
        if opening.chat == self._chat and self._request is not None:  # it is here, and goes on
            if opening.message is not None:
                self._transcript.go_to(opening.message)
            return
        self._end_editing()
        try:
            await self._show_chat(opening.chat, opening.message)
        except TakebackError as error:
            self._show_problem(error)
            return
        await self._bring_unsent()
        self._show_state("Ready" if self._ready else self._state[0])
        if opening.message is None:
            self._prompt.focus()

    async def action_rename(self, title: str = "") -> None:
        """Give this chat another title, or ask for one."""
        if self._history is None or self._chat is None:
            self._show_state("There is no chat to rename yet")
            return
        try:
            chat = await asyncio.to_thread(self._history.chat, self._chat)
        except TakebackError as error:
            self._show_problem(error)
            return
        if title or chat is None:
            await self._rename(title)
        else:
            self.app.push_screen(AskLine("Title of this chat", chat.title), self._rename)

    async def _rename(self, title: str | None) -> None:
        if self._history is None or self._chat is None or not title:
            return
        try:
            await asyncio.to_thread(self._history.rename, self._chat, title)
        except TakebackError as error:
            self._show_problem(error)
        else:
            self._show_state("Renamed")

    # Pages

    def action_help(self) -> None:
        """Show all keys and commands."""
        self.app.push_screen(Page("Keys and commands", pages.keys()))

    async def action_prompt(self) -> None:
        """Show what the model would be sent now, with what is in the prompt."""
        if self._history is None or not self._ready or self._busy():
            self._show_state("The model is not there yet" if not self._ready else self._state[0])
            return
        try:
            pending = await asyncio.to_thread(with_files, self._prompt.text.strip())
            if self._chat is None:
                shown = self._model.show_first(pending, self._system)
            else:
                shown = self._model.show(self._chat, pending)
            sight, parts, context = await asyncio.wrap_future(shown)
        except TakebackError as error:
            self._show_problem(error)
            return
        self.app.push_screen(Page(*pages.prompt(sight, parts, context)))

    # Within the chat

    def on_key(self, event: events.Key) -> None:
        """What is typed while nothing has the focus goes into the prompt."""
        if self.focused is None and event.is_printable and event.character is not None:
            event.stop()
            self._prompt.focus()
            self._prompt.insert(event.character)

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
