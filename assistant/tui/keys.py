"""The keys of the chat: what each does, the ones it has, and the ones that the user gives it instead.

The config file's table `[keys]` names an action and its keys, as in `new_chat = "ctrl+t"` or
`send = "ctrl+enter, ctrl+s"`. The names of keys are Textual's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from textual.binding import Binding
from textual.keys import Keys, key_to_character

from convert.errors import TakebackError
from convert.untrusted import clean_line

CHAT, PROMPT, MESSAGE, CHATS = "chat", "prompt", "message", "chats"
"""Where a key counts: all over the chat, in the prompt, on a message, in the list of chats."""


@dataclass(frozen=True)
class Key:
    """An action that keys lead to."""

    place: str
    default: str
    """Its keys, with commas between them."""
    words: str
    """What it does, for people."""


KEYS = {
    "send": Key(PROMPT, "enter", "send"),
    "new_line": Key(PROMPT, "ctrl+j,shift+enter,alt+enter", "new line"),
    "editor": Key(CHAT, "ctrl+g", "your own editor"),
    "page_up": Key(CHAT, "pageup", "scroll back"),
    "page_down": Key(CHAT, "pagedown", "scroll on"),
    "latest": Key(CHAT, "ctrl+end", "to the latest, and follow it"),
    "edit": Key(MESSAGE, "e", "edit your message, in a new branch"),
    "again": Key(MESSAGE, "r", "have the reply written again"),
    "continue": Key(MESSAGE, "c", "go on with a reply that was cut off"),
    "copy": Key(MESSAGE, "y", "copy the message"),
    "code": Key(MESSAGE, "k", "copy a block of code of it"),
    "links": Key(MESSAGE, "o", "open a link of it, once you have said yes"),
    "older": Key(MESSAGE, "left", "its version before"),
    "newer": Key(MESSAGE, "right", "its next version"),
    "stop": Key(CHAT, "escape", "stop the reply, and keep what was shown"),
    "interrupt": Key(CHAT, "ctrl+c", "copy what is selected, else stop; twice: quit"),
    "new_chat": Key(CHAT, "ctrl+n", "new chat"),
    "chats": Key(CHAT, "ctrl+o", "chats: find, open, rename, delete"),
    "palette": Key(CHAT, "ctrl+p", "palette: all commands"),
    "log": Key(CHAT, "ctrl+l", "what the program has noted down"),
    "help": Key(CHAT, "f1", "these keys"),
    "quit": Key(CHAT, "ctrl+q", "quit"),
    "rename": Key(CHATS, "f2", "rename a chat"),
    "delete": Key(CHATS, "ctrl+d", "delete a chat"),
    "undo": Key(CHATS, "ctrl+z", "bring a deleted chat back"),
}
"""By name; in `[keys]` and in Textual's keymap alike."""

_MODIFIERS = ("ctrl", "shift", "alt", "super", "hyper", "meta")
_NAMED = {key.value for key in Keys} | {f"f{number}" for number in range(1, 25)}
_EDITING = ("enter", "backspace", "delete", "tab", "up", "down", "left", "right", "home", "end")
_SAME = {"ctrl+i": "tab", "ctrl+m": "enter", "ctrl+[": "escape"}
"""What many terminals send one and the same code for."""
_SHOWN = {
    "escape": "Esc", "pageup": "PageUp", "pagedown": "PageDown", "up": "↑", "down": "↓", "left": "←", "right": "→"
}  # fmt: skip


class Keymap:
    """Which keys lead to which action."""

    def __init__(self, own: Mapping[str, str] | None = None) -> None:
        """`own` are the user's, by name, as `parse` gives them; the others are the defaults."""
        self.own = dict(own or {})

    def of(self, name: str) -> tuple[str, ...]:
        """The keys of an action, as Textual names them."""
        return tuple((self.own.get(name) or KEYS[name].default).split(","))

    def label(self, name: str) -> str:
        """The first key of an action, for people."""
        return shown(self.of(name)[0])


def bind(name: str, action: str, *, priority: bool = False) -> Binding:
    """The binding of an action of this table, which the user's keymap may change."""
    key = KEYS[name]
    return Binding(key.default, action, key.words, show=False, priority=priority, id=name)


def shown(key: str) -> str:
    """A key's name for people: `ctrl+n` is Ctrl+N."""
    *modifiers, last = key.split("+") if key != "+" else [key]
    character = key_to_character(last)
    if last in _SHOWN:
        last = _SHOWN[last]
    elif character is not None and character.isprintable() and not character.isspace():
        last = character.upper() if modifiers else character
    else:
        last = last.capitalize()
    return "+".join([*(modifier.capitalize() for modifier in modifiers), last])


def parse(table: Mapping[str, Any], where: str) -> Keymap:
    """The keymap of a table of the config file at `where`.

    Raises:
        TakebackError: an action or a key does not exist, cannot be used there, or means two things.
    """
    own: dict[str, str] = {}
    for name, value in table.items():
        here = f"{where}: keys.{clean_line(name)}"
        if name not in KEYS:
            raise TakebackError(f"{here}: no such action; there is {', '.join(KEYS)}")
        if not isinstance(value, str) or not value.strip():
            raise TakebackError(f'{here} is {clean_line(repr(value))}; it must be keys, as in "ctrl+t, f5"')
        own[name] = ",".join(_key(part.strip(), name, here) for part in value.split(","))
    keymap = Keymap(own)
    for name in own:
        for other, key in _clashes(keymap, name):
            raise TakebackError(
                f"{where}: keys.{name}: {shown(key)} is the key of {other} already; give one of them another"
            )
    return keymap


def _key(text: str, name: str, here: str) -> str:
    """A key as Textual names it, if it is one and can be used for an action."""
    *modifiers, last = text.split("+") if text not in ("+",) else [text]
    last = last if len(last) == 1 else last.lower()
    key = "+".join([*(modifier.lower() for modifier in modifiers), last])
    known = last in _NAMED or (len(last) == 1 and last.isprintable()) or key_to_character(last) is not None
    if not known or not {modifier.lower() for modifier in modifiers} <= set(_MODIFIERS):
        raise TakebackError(f'{here}: {clean_line(text)!r} is no key; one is "ctrl+t", "f5" or "escape"')
    if key in _SAME:
        raise TakebackError(f"{here}: many terminals cannot tell {shown(key)} from {shown(_SAME[key])}")
    writes = last in _EDITING or (key_to_character(last) or "\0").isprintable()
    writes = writes and set(modifiers) <= {"shift"} and (KEYS[name].place, last) != (PROMPT, "enter")
    if writes and KEYS[name].place != MESSAGE:
        raise TakebackError(f"{here}: {shown(key)} is needed for writing; add ctrl or alt to it")
    return key


def _clashes(keymap: Keymap, name: str) -> Iterator[tuple[str, str]]:
    """The actions that share a key with one, and the key, where both may be meant."""
    place = KEYS[name].place
    for other, key in KEYS.items():
        apart = CHATS in (place, key.place) or {place, key.place} == {PROMPT, MESSAGE}
        if other != name and (place == key.place or not apart):
            for shared in set(keymap.of(name)) & set(keymap.of(other)):
                yield other, shared
