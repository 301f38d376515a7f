"""Runs the line mode: a message or a command, then the next."""

from __future__ import annotations

import sys
from io import TextIOWrapper

from assistant.plain.chats import place, tell_chat, tell_unsent
from assistant.plain.commands import obey
from assistant.plain.replies import send
from assistant.plain.talk import Talk
from convert.errors import TakebackError

LABEL, LABEL_OF_AN_EDIT = "You: ", "You, anew: "


def read_standard_input() -> None:
    """Have bytes that are no text read as such, not as a failure."""
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")


def run(talk: Talk, *, begin_new: bool) -> int:
    """Talk until the input ends, or the user leaves; returns the exit status.

    Input that is no terminal is a script: it begins a new chat, and the status says whether all went well.
    """
    if talk.lines.terminal:
        _greet(talk, begin_new)
    interrupted = False
    while not talk.ended:
        talk.look_around()
        try:
            text = talk.lines.read(LABEL if talk.editing is None else LABEL_OF_AN_EDIT)
            if text is None:
                break
            interrupted = False
            _take(talk, text)
        except KeyboardInterrupt:
            if interrupted or not talk.lines.terminal:
                raise
            interrupted = True
            talk.say("")
            talk.note("Ctrl-C again, or /quit, leaves")
    _keep_unfinished(talk)
    return 1 if talk.failed and not talk.lines.terminal else 0


def _greet(talk: Talk, begin_new: bool) -> None:
    how = "paragraph by paragraph, and may yet be taken back" if talk.stream else "once it is done"
    talk.note(f"Takeback, line by line. A reply is written {how}. /help lists the commands")
    if not begin_new and (last := talk.history.chats(1)):
        talk.chat = last[0].id
        tell_chat(talk, last[0])
    tell_unsent(talk)


def _take(talk: Talk, text: str) -> None:
    try:
        if text.strip() and not obey(talk, text):
            send(talk, text)
    except TakebackError as error:
        talk.problem(error)


def _keep_unfinished(talk: Talk) -> None:
    """Keep a message that the end of the input cut off, for the next time."""
    if text := talk.lines.unfinished.strip():
        talk.history.keep_unsent(place(talk), text)
        talk.note("The message was not ended, so it was not sent; it is kept, and /send sends it")
