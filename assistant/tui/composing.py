"""The part of the chat's screen that takes what the user writes."""

from __future__ import annotations

import asyncio
import threading
import time
from inspect import isawaitable
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import SuspendNotSupported
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Static

from assistant.conversation.attachments import Mention, mentions, size_in_words, with_files
from assistant.conversation.command_line import called_by
from assistant.conversation.editor import edit
from assistant.conversation.history import History
from assistant.conversation.model_thread import LONG, Loader
from assistant.conversation.reports import Request
from assistant.conversation.shelf import NOT_BEGUN
from assistant.engine.options import GenerateOptions
from assistant.tui.commands import Command, find
from assistant.tui.completion import suggest
from assistant.tui.keys import bind
from assistant.tui.pace import Pace
from assistant.tui.recall import Recall
from assistant.tui.sharing import SharingScreen
from assistant.tui.widgets.message import MessageView, Notice
from assistant.tui.widgets.prompt import Prompt
from assistant.tui.widgets.suggestions import Suggestions
from convert.errors import TakebackError
from convert.untrusted import clean, clean_line

MOST_RECALLED = 500
SECONDS_FOR_TWICE = 2.0


class ComposingScreen(SharingScreen):
    """One chat, its replies, its branches, and what is written for it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        bind("stop", "stop"),
        bind("interrupt", "interrupt", priority=True),
        bind("editor", "editor", priority=True),
    ]

    def __init__(
        self,
        load: Loader,
        database: Path,
        model_name: str,
        options: GenerateOptions | None,
        system: str | None,
    ) -> None:
        """`system` is for the chats begun here."""
        super().__init__(load, database, model_name, options)
        self._system = system
        self._recall = Recall()
        self._interrupted = -SECONDS_FOR_TWICE
        self._unsent: dict[int, str] = {}
        self._storing_unsent = threading.Lock()
        self._writes = Pace(self._begin_to_keep, 1, self.set_timer)

    # Sending

    async def on_prompt_sent(self, message: Prompt.Sent) -> None:
        """Do the command, or store what the user wrote, show it, and ask for a reply.

        The prompt is emptied once that is done, of all that is sent: the user may be writing on.
        """
        if self._history is None:
            return  # it is not open yet, or the screen says why it cannot be
        if called := called_by(message.text):
            await self._obey(*called)
            return
        if not self._busy():
            self._send(message.text)

    @work(group="send")
    async def _send(self, said: str) -> None:
        """Send a message: apart from the screen's other work, as the model's thread may be long at something."""
        assert self._history is not None
        edited, place = self._editing, self._place
        self._sending = True
        try:
            text = await asyncio.to_thread(with_files, said.strip())
            await self._measure(text)
            chat, view = await asyncio.to_thread(self._store, self._history, self._chat, text, edited)
            if edited is None:
                self._unsent[place] = ""
            # Else the user left this chat meanwhile; the message waits there for /again.
            if place == self._place:
                await self._show_sent(chat, view, said, edited)
        except TakebackError as error:
            await self._transcript.add(Notice(f"Not sent: {error}"))
        finally:
            self._sending = False

    async def _show_sent(self, chat: int, view: MessageView, said: str, edited: int | None) -> None:
        """Show what was sent, take it out of the prompt, and ask for a reply."""
        self._chat = chat
        if edited is None:
            if self._prompt.text.startswith(said):
                self._prompt.fill(self._prompt.text.removeprefix(said))
            await self._show_end()
        else:
            await self._transcript.cut(edited)
            self._end_editing()
        self._transcript.anchor()
        await self._transcript.add(view)
        await self._ask(Request(chat))

    async def _measure(self, text: str) -> None:
        """Raise TakebackError if a long message cannot fit the context. Without a model nothing is known."""
        if self._ready and len(text) >= LONG:
            await asyncio.wrap_future(self._model.measure(text))

    def _store(
        self, history: History, chat: int | None, text: str, edited: int | None
    ) -> tuple[int, MessageView]:
        """Store a message; returns its chat and what shows it. Not for the screen's thread."""
        if chat is None:
            chat, message = history.new_chat(text, self._system, self._new_choices())
            history.keep_unsent(NOT_BEGUN, "")
        else:
            message = history.say(chat, text, instead_of=edited)
        stored = history.entry(message) if edited is not None else None
        return chat, MessageView.of_user(text, message) if stored is None else MessageView.of_entry(stored)

    def _new_choices(self) -> str | None:
        """What is stored with a chat that is begun here, beside its system message."""
        return None

    def action_stop(self) -> None:
        """Stop the reply and keep what was shown of it; else go back to the prompt, then end editing."""
        if self._request is not None:
            self._show_state("Stopping…")
            self._model.cancel(self._request)
        elif self._prompt.has_focus and self._editing is not None:
            self._end_editing()
        else:
            self._prompt.focus()

    def action_interrupt(self) -> None:
        """Copy what is selected, else stop the reply; twice with nothing written: quit."""
        before, self._interrupted = self._interrupted, time.monotonic()
        if selected := self._prompt.selected_text or self.get_selected_text():
            self.app.copy_to_clipboard(selected)
        elif self._request is not None:
            self.action_stop()
        elif self._prompt.text:
            self._show_state(f"{self.keymap.label('quit')} quits")
        elif self._interrupted - before < SECONDS_FOR_TWICE:
            self.app.exit()
        else:
            self._show_state(
                f"{self.keymap.label('interrupt')} once more, or {self.keymap.label('quit')}, quits"
            )

    # Commands

    async def run_command(self, command: Command, words: str = "") -> None:
        """Do what was asked for by name."""
        done = getattr(self, f"action_{command.action}")(*([words] if command.takes else []))
        if isawaitable(done):
            await done

    async def _obey(self, name: str, words: str) -> None:
        command = find(name)
        if command is None:
            self._show_state(f"There is no /{name}; with a space before it, it is sent", "$text-warning")
        elif words and not command.takes:
            self._show_state(
                f"Nothing may follow /{name}; with a space before it, it is sent", "$text-warning"
            )
        else:
            self._prompt.clear()
            await self.run_command(command, words)

    # Writing

    def on_text_area_changed(self) -> None:
        """Suggest, say what is attached, and keep what is written."""
        self._interrupted = -SECONDS_FOR_TWICE
        self._look(self._prompt.before_cursor, self._prompt.text)
        if self._history is not None:
            self._unsent[self._place] = self._prompt.text if self._editing is None else self._set_aside
            self._writes.soon()

    @work(exclusive=True, group="look")
    async def _look(self, before: str, text: str) -> None:
        suggestions = self.query_one(Suggestions)
        if "/" not in before[:1] and "@" not in text:
            suggestions.offer([])
            self._show_attached([])
            return
        suggestions.offer(await asyncio.to_thread(suggest, before))
        self._show_attached(await asyncio.to_thread(mentions, text))

    def _show_attached(self, named: list[Mention]) -> None:
        parts = [
            f"{clean_line(file.name)}: no such file, so just words"
            if file.size is None
            else f"Attaches {clean_line(file.name)}, {size_in_words(file.size)}"
            for file in named
        ]
        attached = self.query_one("#attached", Static)
        attached.display = bool(parts)
        attached.update(Content(" · ".join(parts)))

    async def on_prompt_recall(self, message: Prompt.Recall) -> None:
        """Put what the user said before into the prompt, or what was said after it."""
        now = self._prompt.text
        if self._history is not None and self._recall.at_rest(now):
            if message.step < 0:
                return  # nothing was said after what the user is writing now
            try:
                said = await asyncio.to_thread(self._history.said, MOST_RECALLED)
            except TakebackError as error:
                self._show_problem(error)
                return
            self._recall.begin(now, [clean(text) for text in said])
        if (text := self._recall.step(message.step)) is not None:
            self._prompt.fill(text)

    def action_editor(self) -> None:
        """Write the message in the user's own editor."""
        try:
            with self.app.suspend():
                text = edit(self._prompt.text)
        except SuspendNotSupported:
            self._show_state("This terminal cannot be lent to an editor", "$text-warning")
        except TakebackError as error:
            self._show_problem(error)
        else:
            self._prompt.fill(clean(text))

    # What was not sent

    async def _bring_unsent(self, *, carry: bool = False) -> None:
        """Put into the prompt what was written for this chat before, above what is carried there."""
        if self._history is None:
            return
        place, before = self._place, self._prompt.text
        try:
            text = await asyncio.to_thread(self._stored_unsent, self._history, place)
        except TakebackError as error:
            self._show_problem(error)
            return
        if place != self._place:
            return
        now = self._prompt.text
        if now and (carry or now != before):  # or the user has begun to write meanwhile
            text = f"{text}\n\n{now}" if text not in ("", now) else now
        if text != now:
            self._prompt.fill(clean(text))
        self._unsent[place] = text
        self._writes.soon()

    def _leave(self, carried: str) -> None:
        """Leave a chat, taking along what is written for it."""
        self._unsent[self._place] = carried if self._chat is None else ""
        self._writes.soon()

    def _begin_to_keep(self) -> None:
        self._keep_unsent()

    @work(group="unsent")
    async def _keep_unsent(self) -> None:
        if self._history is not None:
            try:
                await asyncio.to_thread(self._store_unsent, self._history)
            except TakebackError as error:
                self._show_problem(error)

    def _stored_unsent(self, history: History, chat: int) -> str:
        """What was written for a chat, up to now. Not for the screen's thread."""
        self._store_unsent(history)
        return history.unsent(chat)

    def _store_unsent(self, history: History) -> None:
        """Store what was written lately, in the order it was written. From any thread."""
        with self._storing_unsent:
            while self._unsent:
                chat, text = self._unsent.popitem()
                try:
                    history.keep_unsent(chat, text)
                except TakebackError:
                    self._unsent.setdefault(chat, text)  # for the next time, unless it has been changed since
                    raise

    @property
    def _place(self) -> int:
        """The chat that is written for, as the store knows it."""
        return NOT_BEGUN if self._chat is None else self._chat
