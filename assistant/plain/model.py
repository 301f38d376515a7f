"""The line mode's commands for what is chosen for a chat: its model, its system message, its options."""

from __future__ import annotations

from assistant.conversation.chosen import OF_A_CHAT, as_text, checked, of_text
from assistant.conversation.presets import presets
from assistant.described import Value
from assistant.models.library import DEFAULT, models, resolve
from assistant.plain.talk import Talk
from convert.errors import TakebackError
from convert.untrusted import clean, clean_line

NOTHING = "-"
"""What is written to leave something to the program again."""


def chosen(talk: Talk) -> dict[str, Value]:
    """What was chosen for this chat.

    Raises:
        TakebackError: it cannot be read.
    """
    stored = talk.history.chat(talk.chat) if talk.chat is not None else None
    return dict(talk.chosen) if stored is None else of_text(stored.chosen)


def choose_model(talk: Talk, name: str) -> None:
    """List the models, or have this chat answered by another one."""
    if not name:
        now = chosen(talk).get("model", "")
        for known in [DEFAULT, *(model.name for model in models())]:
            talk.say(clean_line(known) + ", chosen for this chat" * (known == now))
        talk.note("/model NAME, or a file's path, chooses one for this chat; /model - leaves it to the start")
        return
    if name not in (NOTHING, DEFAULT):
        resolve(name)
    _keep(talk, "model", name)
    talk.use_model(None if name == NOTHING else name)


def system(talk: Talk, words: str) -> None:
    """Say this chat's system message, or give it another one."""
    stored = talk.history.chat(talk.chat) if talk.chat is not None else None
    if words:
        now = None if words == NOTHING else words
        if stored is None:
            talk.system = now
        else:
            talk.history.set_up(stored.id, now, stored.chosen)
    else:
        now = talk.system if stored is None else stored.system
    talk.say(f"The system message is: {clean(now)}" if now else "There is no system message")


def temperature(talk: Talk, words: str) -> None:
    """Say how much chance there is in this chat's replies, or change it."""
    if words:
        _keep(talk, "temperature", words)
    value = chosen(talk).get("temperature", "what the settings say")
    talk.say(f"The temperature of this chat is {value}")


def options(talk: Talk, words: str) -> None:
    """Say what is chosen for this chat's replies, or choose something: its name and its value."""
    if words:
        name, _, value = words.partition(" ")
        if name == "system":
            raise TakebackError("/system TEXT gives this chat another system message")
        _keep(talk, name.replace("-", "_"), value.strip() or NOTHING)
    now = chosen(talk)
    for setting in OF_A_CHAT:
        if setting.name in now:
            talk.say(f"{setting.name} is {now[setting.name]}: {setting.help}")
        elif not words and setting.name != "system":
            talk.say(f"{setting.name} is not chosen: {setting.help}")


def preset(talk: Talk, name: str) -> None:
    """List the presets, or give this chat the options of one."""
    there = presets()
    if not name:
        for known, values in there.items():
            talk.say(
                f"{known}: {', '.join(f'{key} {clean_line(str(value))}' for key, value in values.items())}"
            )
        talk.note("/preset NAME gives this chat one's options" if there else "There are no presets yet")
        return
    if name not in there:
        raise TakebackError(f"there is no preset {name!r}; /preset lists them")
    values = dict(there[name])
    if "system" in values:
        system(talk, str(values.pop("system")))
    _store(talk, {**{key: value for key, value in chosen(talk).items() if key == "model"}, **values})
    talk.note(f"{name}: it counts from the next reply on")


def prompt(talk: Talk) -> None:
    """Show exactly what the model is sent."""
    name = chosen(talk).get("model")
    if not talk.use_model(str(name) if name else None):
        return
    shown = talk.model.show_first("…", talk.system) if talk.chat is None else talk.model.show(talk.chat, "…")
    sight, parts, context = shown.result()
    talk.say("".join(clean(text) for text, _ in parts))
    left_out = f"; the first {sight.left_out} messages are left out" if sight.left_out else ""
    talk.note(
        f"This is what the model is sent, with what you write in the place of the …: {sight.tokens:,} of "
        f"{context:,} tokens{left_out}"
    )


def _keep(talk: Talk, name: str, value: str) -> None:
    """Choose something for this chat, or leave it to the settings again."""
    now = chosen(talk)
    now.pop(name, None)
    if value != NOTHING:
        now |= checked({name: value}, "/options", model=True)
    _store(talk, now)


def _store(talk: Talk, values: dict[str, Value]) -> None:
    """Store what is chosen for this chat; one that is not begun keeps it until then."""
    stored = talk.history.chat(talk.chat) if talk.chat is not None else None
    if stored is None:
        talk.chosen = values
    else:
        talk.history.set_up(stored.id, stored.system, as_text(values))
