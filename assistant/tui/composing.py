"""The half of the chat's screen that takes what the user writes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType

from assistant.engine.options import GenerateOptions
from assistant.tui.model_thread import Loader, Request
from assistant.tui.replying import ReplyingScreen
from assistant.tui.widgets.message import MessageView, Notice
from assistant.tui.widgets.prompt import Prompt
from convert.errors import TakebackError


class ComposingScreen(ReplyingScreen):
    """One chat, its replies, and what is written for it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop", show=False),
        Binding("ctrl+c", "interrupt", "Copy, or stop", show=False, priority=True),
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

    async def on_prompt_sent(self, message: Prompt.Sent) -> None:
        """Store what the user wrote, show it, and ask for a reply. Only then the prompt is emptied."""
        if self._history is None:
            return  # it is not open yet, or the screen says why it cannot be
        if self._request is not None:
            self._show_state("Not yet: wait for this reply, or press Esc to stop it", "$text-warning")
            return
        text = message.text.strip()
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
        self._prompt.clear()
        await self._transcript.add(MessageView.of_user(text, entry))
        await self._ask(Request(chat))

    def action_stop(self) -> None:
        """Stop the reply and keep what was shown of it; else go back to the prompt."""
        if self._request is not None:
            self._show_state("Stopping…")
            self._model.cancel(self._request)
        else:
            self._prompt.focus()

    def action_interrupt(self) -> None:
        """Copy what is selected, else stop the reply, else say how to quit."""
        if selected := self._prompt.selected_text or self.get_selected_text():
            self.app.copy_to_clipboard(selected)
            self._show_state("Copied, if this terminal allows it")
        elif self._request is not None:
            self.action_stop()
        else:
            self._show_state("Ctrl+Q quits")
