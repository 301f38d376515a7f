"""What a user has chosen for one chat: its model, its system message, and how its replies are written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from assistant.described import Value
from assistant.engine.options import GenerateOptions
from assistant.settings import MODEL, SCREEN, SETTINGS
from convert.errors import TakebackError

OF_A_CHAT = tuple(setting for setting in SETTINGS.values() if setting.about.group not in (MODEL, SCREEN))
"""What the form of a chat has: the settings that count from one reply to the next."""

_OF_A_REPLY = tuple(setting.name for setting in OF_A_CHAT if setting.name != "system")


def checked(values: Mapping[str, Any], where: str, *, model: bool = False) -> dict[str, Value]:
    """What was chosen, of known settings and within their limits; texts that are empty are not chosen.

    The model is one of them only where `model` says so: it must be loaded first.

    Raises:
        TakebackError: it begins with `where`, and names the setting that is wrong.
    """
    known = {setting.name: setting for setting in OF_A_CHAT}
    if model:
        known["model"] = SETTINGS["model"]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise TakebackError(f"{where}: {unknown[0]!r} is nothing that can be chosen for a chat")
    read = {name: known[name].read(value, f"{where}: {name}") for name, value in values.items()}
    return {name: value for name, value in read.items() if value != ""}


def as_text(values: Mapping[str, Value]) -> str | None:
    """What was chosen, as the store keeps it; None where nothing was."""
    return json.dumps(dict(values), ensure_ascii=False) if values else None


def of_text(text: str | None) -> dict[str, Value]:
    """What was chosen, as it was stored.

    Raises:
        TakebackError: it is damaged, or of another takeback, which knows other settings.
    """
    if not text:
        return {}
    where = "the options of this chat"
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TakebackError(f"{where} cannot be read; choose them anew with /options") from error
    if not isinstance(values, dict):
        raise TakebackError(f"{where} cannot be read; choose them anew with /options")
    return checked(values, where, model=True)


def options_with(options: GenerateOptions | None, values: Mapping[str, Value]) -> GenerateOptions | None:
    """The options of a reply with what was chosen for its chat, which goes first."""
    chosen: dict[str, Any] = {name: values[name] for name in _OF_A_REPLY if name in values}
    return replace(options or GenerateOptions(), **chosen) if chosen else options
