"""Starts and ends the line mode."""

from __future__ import annotations

import os
import sys
from contextlib import closing

from assistant.conversation.history import History
from assistant.engine.options import generate_options, load_options
from assistant.loading import loader
from assistant.paths import database
from assistant.plain.lines import Lines
from assistant.plain.run import read_standard_input, run
from assistant.plain.talk import Talk
from assistant.settings import Settings


def run_plain(
    settings: Settings, *, stream: bool, begin_new: bool, show_discarded: bool = False, why: str = ""
) -> int:
    """Run the chat line by line until the user leaves. `why` says why it is this one, where nobody asked for it.

    Raises:
        TakebackError: a setting is wrong, or the chats cannot be stored.
    """
    loading = load_options(settings)
    read_standard_input()
    with closing(History(database())) as history:
        talk = Talk(
            history,
            load=lambda name: loader(name, loading),
            model_name=settings.model,
            options=generate_options(settings, show_discarded=show_discarded),
            lines=Lines(sys.stdin, ask, tell),
            system=settings.system,
            stream=stream,
        )
        if why:
            talk.note(why)
        try:
            status = run(talk, begin_new=begin_new)
        finally:
            ended = talk.close()
    if not ended:
        leave_at_once(status)
    return status


def ask(label: str) -> None:
    """Write the words before what is typed."""
    sys.stdout.write(label)
    sys.stdout.flush()


def tell(remark: str) -> None:
    """Write a remark on what was typed."""
    sys.stdout.write(f"[{remark}]\n")
    sys.stdout.flush()


def leave_at_once(status: int) -> None:
    """End although the model's thread is deep in a load that cannot be stopped.

    Python's own way out would wait for it, or take its memory away under it; all chats are on the disk.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
