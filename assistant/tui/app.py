"""The Textual application: colours, the stylesheet, and the chat's screen."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from textual.app import App, SystemCommand
from textual.screen import Screen
from textual.theme import Theme

from assistant.conversation.model_thread import Loader
from assistant.engine.options import GenerateOptions
from assistant.tui.chat import ChatScreen
from assistant.tui.commands import COMMANDS

CALM = Theme(
    name="takeback",
    primary="#7fa7c9",
    secondary="#a3b18a",
    accent="#c9a87f",
    success="#8fb996",
    warning="#d4b483",
    error="#cf8a84",
    foreground="#d7dae0",
    background="#15181d",
    surface="#1b1f26",
    panel="#222831",
    dark=True,
)


class ChatApp(App[None]):
    """The chat in the terminal."""

    CSS_PATH = "styles.tcss"
    TITLE = "Takeback"
    HORIZONTAL_BREAKPOINTS = [(0, "narrow"), (64, "wide")]  # noqa: RUF012 - Textual's own annotation rules

    def __init__(
        self,
        load: Loader,
        database: Path,
        *,
        system: str | None = None,
        model_name: str = "default model",
        options: GenerateOptions | None = None,
        begin_new: bool = False,
    ) -> None:
        """`load` is called in a thread of its own, after the first paint.

        `begin_new` begins a new chat instead of showing the last one.
        """
        super().__init__()
        self.chat = ChatScreen(load, database, system, model_name, options, begin_new)

    def on_mount(self) -> None:
        """Choose colours, unless the user's environment does, and show the chat."""
        self.register_theme(CALM)
        if "TEXTUAL_THEME" not in os.environ:
            self.theme = CALM.name
        self.push_screen(self.chat)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What the palette offers: what `/` offers in the prompt, the colours and the way out."""
        if screen is self.chat:
            for command in COMMANDS:
                keys = f" ({command.keys})" if command.keys else ""
                run = partial(self.chat.run_command, command)
                yield SystemCommand(command.summary + keys, f"/{command.name}", run)
        for offered in super().get_system_commands(screen):
            if offered.title in ("Theme", "Quit"):
                yield offered
