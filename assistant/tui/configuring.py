"""The part of the chat's screen that changes the settings of all chats, which are in the config file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from textual import work

from assistant.config import save_settings
from assistant.described import Value
from assistant.engine.options import generate_options
from assistant.settings import SETTINGS, Settings, config_path, read_config, variable
from assistant.tui import themes
from assistant.tui.choosing import ChoosingScreen
from assistant.tui.form import Form, told
from convert.errors import TakebackError


class ConfiguringScreen(ChoosingScreen):
    """One chat, what is chosen for it, and what is set for all."""

    read_settings: Callable[[], Settings] | None = None
    """Reads the settings anew, with the flags that the program was started with."""

    @work(exclusive=True, group="options")
    async def action_settings(self) -> None:
        """Show the settings in a form, and write what is changed into the config file."""
        if self.read_settings is None:
            self._show_state("There is no config file here")
            return
        try:
            before = await asyncio.to_thread(read_config)
            notes = _notes(before, self.read_settings())
        except TakebackError as error:
            self._show_problem(error)
            return
        kept = await self.app.push_screen_wait(
            Form(f"Settings for all chats, in {config_path()}", SETTINGS.values(), before, told({}), notes)
        )
        if kept is None:
            return
        changes = {name: kept.get(name) for name in SETTINGS if kept.get(name) != before.get(name)}
        try:
            await asyncio.to_thread(save_settings, changes)
            self._go_by(self.read_settings(), changes)
        except TakebackError as error:
            self._show_problem(error)
        else:
            self._show_state(_said(changes))

    def _go_by(self, settings: Settings, changes: Mapping[str, Value | None]) -> None:
        """Let what can count at once do so."""
        options = generate_options(settings)
        if self._model.options is not None:
            options = replace(options, show_discarded=self._model.options.show_discarded)
        self._model.options = options
        if "system" in changes:
            self._system_of_new = settings.system
        if "theme" in changes:
            themes.put_on(self.app, settings.theme or themes.DARK.name)


def _notes(written: Mapping[str, Any], settings: Settings) -> dict[str, str]:
    """What is to be said of settings that the file does not decide, as a flag or a variable goes before it."""
    notes = {}
    for name, value in settings._asdict().items():
        if os.environ.get(variable(name)):
            notes[name] = f"{variable(name)} is set, and goes before this"
        elif value is not None and value != written.get(name):
            notes[name] = f"{SETTINGS[name].flag} was given, and goes before this"
    return notes


def _said(changes: Mapping[str, Value | None]) -> str:
    later = {
        "start": [name for name in changes if SETTINGS[name].about.begins == "start"],
        "chat": [name for name in changes if SETTINGS[name].about.begins == "chat"],
    }
    words = [
        f"{', '.join(name.replace('_', '-') for name in names)}: from the next {what} on"
        for what, names in later.items()
        if names
    ]
    return "; ".join(["Saved" if changes else "Nothing was changed", *words])
