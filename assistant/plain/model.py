"""The line mode's commands for the model, and for what it is told."""

from __future__ import annotations

from dataclasses import replace

from assistant.models.library import DEFAULT, models, resolve
from assistant.plain.talk import Talk
from convert.errors import TakebackError
from convert.untrusted import clean, clean_line


def choose(talk: Talk, name: str) -> None:
    """List the models, or go on with another one."""
    if not name:
        chosen = talk.model_name or DEFAULT
        for known in [DEFAULT, *(model.name for model in models())]:
            talk.say(clean_line(known) + ", chosen" * (known == chosen))
        talk.note("/model NAME, or a file's path, chooses another one")
        return
    if name != DEFAULT:
        resolve(name)
    talk.change(name=name)
    talk.await_model()


def temperature(talk: Talk, words: str) -> None:
    """Say how much chance there is in replies, or change it until the program ends."""
    if words:
        try:
            talk.options = replace(talk.options, temperature=float(words))
        except ValueError:
            raise TakebackError(f"{words} is no number; /temperature 0 takes the likeliest words") from None
        talk.model.options = talk.options
    talk.say(f"The temperature is {talk.options.temperature:g}")


def prompt(talk: Talk) -> None:
    """Show exactly what the model is sent."""
    if not talk.await_model():
        raise TakebackError("there is no model; /model chooses one")
    shown = talk.model.show_first("…", talk.system) if talk.chat is None else talk.model.show(talk.chat, "…")
    sight, parts, context = shown.result()
    talk.say("".join(clean(text) for text, _ in parts))
    left_out = f"; the first {sight.left_out} messages are left out" if sight.left_out else ""
    talk.note(
        f"This is what the model is sent, with what you write in the place of the …: {sight.tokens:,} of "
        f"{context:,} tokens{left_out}"
    )
