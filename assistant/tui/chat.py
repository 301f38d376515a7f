"""The chat's screen: it starts and ends here, and goes from one chat to another."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Static

from assistant.config import save_settings
from assistant.conversation.attachments import with_files
from assistant.conversation.history import History
from assistant.conversation.model_thread import SECONDS_TO_END, Loader
from assistant.conversation.records import Entry
from assistant.engine.options import GenerateOptions
from assistant.settings import SETTINGS
from assistant.tui import garbage, pages, themes
from assistant.tui.chats import ChatsScreen, Opening
from assistant.tui.configuring import ConfiguringScreen
from assistant.tui.keys import bind
from assistant.tui.log_page import LogPage
from assistant.tui.markdown import warm_up
from assistant.tui.replying import MESSAGES_A_PAGE
from assistant.tui.widgets.ask import AskLine
from assistant.tui.widgets.choose import Choose
from assistant.tui.widgets.lines import Header, StatusLine
from assistant.tui.widgets.message import Notice
from assistant.tui.widgets.page import Page
from assistant.tui.widgets.prompt import Prompt
from assistant.tui.widgets.suggestions import Suggestions
from assistant.tui.widgets.transcript import Transcript
from convert.errors import TakebackError

SECONDS_BETWEEN_COUNTS = 0.25
SECONDS_OF_QUIET = 2.0
"""After a reply, before the screen may be held up."""
SECONDS_BETWEEN_LOOKS = 1.0
"""At replies that another program writes, if there are any here."""


class ChatScreen(ConfiguringScreen):
    """One chat at a time, the last one first."""

    AUTO_FOCUS: ClassVar[str | None] = "Prompt"
    BINDINGS: ClassVar[list[BindingType]] = [
        bind("new_chat", "new_chat", priority=True),
        bind("chats", "chats", priority=True),
        bind("help", "help", priority=True),
        bind("log", "log", priority=True),
        bind("page_up", "page(-1)", priority=True),
        bind("page_down", "page(1)", priority=True),
        bind("latest", "latest", priority=True),
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
        self._busy_at = 0.0

    # Start and end

    def compose(self) -> ComposeResult:
        """The screen, from top to bottom."""
        yield Header()
        yield Transcript()
        suggestions = Suggestions()
        yield suggestions
        yield Prompt(suggestions, self.keymap)
        yield Static("", markup=False, id="attached")
        yield StatusLine()

    def on_mount(self) -> None:
        """Paint first; everything that takes time comes after."""
        self.query_one(Header).show_model(self._model_name, None)
        self._show_state("Starting…")
        self._prompt.focus()
        self.call_after_refresh(self._start)
        self.set_interval(SECONDS_BETWEEN_COUNTS, self._look_around)
        self.set_interval(SECONDS_BETWEEN_LOOKS, self._look_elsewhere)

    def _look_around(self) -> None:
        self._show_progress()
        self._show_way_down()
        if self._request is not None:
            self._busy_at = time.monotonic()
        garbage.put_off(while_busy=time.monotonic() - self._busy_at < SECONDS_OF_QUIET)

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
        await self._take_up()
        self._model.start(history)
        await self._bring_unsent(carry=True)
        await asyncio.to_thread(warm_up)

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
        garbage.put_off(while_busy=False)
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
        await self._take_up()
        await self._bring_unsent(carry=True)
        self._show_state("New chat" if self._ready else self._state[0])
        await self._show_entries([])
        self._show_keys()
        self._prompt.focus()

    def action_chats(self, words: str = "") -> None:
        """List the chats, those with these words in them where there are any."""
        if self._history is not None:
            self.app.push_screen(ChatsScreen(self._history, self._deleted, self.keymap, words), self._chosen)

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
        self.app.push_screen(Page("Keys and commands", pages.keys(self.keymap)))

    def action_prompt(self) -> None:
        """Show what the model would be sent now, with what is in the prompt."""
        if self._history is None or not self._ready or self._busy():
            self._show_state("The model is not there yet" if not self._ready else self._state[0])
        else:
            self._show_prompt()

    @work(exclusive=True, group="prompt")
    async def _show_prompt(self) -> None:
        place = self._place
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
        if place == self._place and self.is_current:  # else the user has gone elsewhere meanwhile
            self.app.push_screen(Page(*pages.prompt(sight, parts, context)))

    def action_log(self) -> None:
        """Show what the program has noted down."""
        self.app.push_screen(LogPage(self.log_file))

    # The program

    def action_theme(self, name: str = "") -> None:
        """Take other colours, and keep them; without a name, the user chooses."""
        names = SETTINGS["theme"].choices
        if name:
            self._take_theme(name)
            return

        def take(place: int | None) -> None:
            if place is not None:
                self._take_theme(names[place])

        marked = names.index(now) if (now := themes.worn_by(self.app)) in names else 0
        self.app.push_screen(Choose("Which colours?", [Content(name) for name in names], marked), take)

    @work(group="theme")
    async def _take_theme(self, name: str) -> None:
        try:
            themes.put_on(self.app, SETTINGS["theme"].read(name, "the theme"))
            await asyncio.to_thread(save_settings, {"theme": name})
        except TakebackError as error:
            self._show_problem(error)
        else:
            self._show_state(f"Colours: {name}, also from now on")

    def action_quit(self) -> None:
        """Leave; what was shown of a reply is kept."""
        self.app.exit()

    # Within the chat

    def on_key(self, event: events.Key) -> None:
        """What is typed while nothing has the focus goes into the prompt."""
        if self.focused is None and event.is_printable and event.character is not None:
            event.stop()
            self._prompt.focus()
            self._prompt.insert(event.character)
