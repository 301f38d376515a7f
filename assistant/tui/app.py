"""The Textual application: colours, the stylesheet, and the chat's screen."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.screen import Screen

from assistant.conversation.model_thread import Loader
from assistant.engine.options import GenerateOptions
from assistant.settings import Settings
from assistant.tui import logbook, themes
from assistant.tui.chat import ChatScreen
from assistant.tui.clipboard import copy_with_tool
from assistant.tui.commands import COMMANDS
from assistant.tui.ending import end_on_signals
from assistant.tui.keys import Keymap, bind
from convert.untrusted import clean_line


class ChatApp(App[None]):
    """The chat in the terminal."""

    CSS_PATH = "styles.tcss"
    TITLE = "Takeback"
    HORIZONTAL_BREAKPOINTS = [(0, "narrow"), (64, "wide")]  # noqa: RUF012 - Textual's own annotation rules
    BINDINGS: ClassVar[list[BindingType]] = [
        bind("quit", "quit", priority=True),
        bind("palette", "command_palette", priority=True),
    ]

    def __init__(
        self,
        load: Loader,
        database: Path,
        *,
        system: str | None = None,
        model_name: str = "default model",
        options: GenerateOptions | None = None,
        begin_new: bool = False,
        theme: str | None = None,
        keymap: Keymap | None = None,
        log: Path | None = None,
        models: tuple[str, Callable[[str], Loader]] | None = None,
        read_settings: Callable[[], Settings] | None = None,
    ) -> None:
        """`load` is called in a thread of its own, after the first paint.

        `begin_new` begins a new chat instead of showing the last one. Without `theme`, the colours are those of
        `TEXTUAL_THEME` or the dark ones. `log` is the file for what is noted down.
        `models` are the name of the model that `load` loads, and what loads others by their names; without it
        there are no others. `read_settings` reads the settings anew; without it there is no config file.
        """
        super().__init__()
        logbook.begin(log)
        self._colours = theme
        self.chat = ChatScreen(load, database, system, model_name, options, begin_new)
        self.chat.keymap = keymap or Keymap()
        self.chat.log_file = log
        self.chat.read_settings = read_settings
        if models is not None:
            self.chat.load_by_name(*models)
        self.set_keymap(self.chat.keymap.own)

    def on_mount(self) -> None:
        """Choose colours, and show the chat."""
        themes.register(self)
        themes.put_on(self, self._colours or os.environ.get("TEXTUAL_THEME", themes.DARK.name))
        logbook.LOG.info("the chat begins: %d × %d, TERM %s", *self.size, os.environ.get("TERM", "not set"))
        self.push_screen(self.chat)
        if not self.is_headless:
            end_on_signals(self, self.chat.end)

    def copy_to_clipboard(self, text: str) -> None:
        """Copy a text, whoever asks: with the machine's own tool, or else by asking the terminal."""
        self._clipboard = text  # for pasting with Ctrl+V, which knows nothing else
        self._copy(text)

    @work(group="copy", exclusive=True)
    async def _copy(self, text: str) -> None:
        tool = await asyncio.to_thread(copy_with_tool, text)
        if tool is None:
            super().copy_to_clipboard(text)
        self.chat.say_copied(text, tool)

    def _fatal_error(self) -> None:
        """Leave with one line: Textual's own page shows the values of variables, and so text of the chat."""
        line = logbook.note_failure(self._exception)
        where = "" if self.chat.log_file is None else f"; {clean_line(str(self.chat.log_file))} says where"
        self._exit_renderables.append(Text(f"takeback: error: {line}. All that was said is stored{where}"))
        self._close_messages_no_wait()

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What the palette offers: what `/` offers in the prompt; over another screen, the way out."""
        for command in COMMANDS:
            if screen is self.chat or command.action == "quit":
                keys = f" ({self.chat.keymap.label(command.key)})" if command.key else ""
                run = partial(self.chat.run_command, command)
                yield SystemCommand(command.summary + keys, f"/{command.name}", run)
