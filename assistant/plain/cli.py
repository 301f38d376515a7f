"""Starts and ends the line mode."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from queue import SimpleQueue

from assistant.conversation.history import History
from assistant.conversation.model_thread import SECONDS_TO_END, ModelThread
from assistant.conversation.reports import Report
from assistant.engine.options import generate_options, load_options
from assistant.loading import loader
from assistant.models.library import DEFAULT
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
    loading = load_options(settings, keeps="chats")
    writing = generate_options(settings, show_discarded=show_discarded)
    read_standard_input()
    with closing(History(database())) as history:
        reports: SimpleQueue[Report] = SimpleQueue()
        model = ModelThread(loader(settings.model, loading), reports.put, writing)
        model.by_name(settings.model or DEFAULT, lambda name: loader(name, loading))
        talk = Talk(history, model, reports, Lines(sys.stdin, ask, tell))
        talk.system, talk.stream = settings.system, stream
        if talk.lines.terminal:
            talk.start_model()  # while the user writes; a script may have no use for it
        if why:
            talk.note(why)
        try:
            status = run(talk, begin_new=begin_new)
        finally:
            ended = model.close(SECONDS_TO_END)
    if not ended:
        leave_at_once(status)
    return status


def ask(label: str) -> None:
    """Write the words before what is typed."""
    sys.stderr.write(label)
    sys.stderr.flush()


def tell(remark: str) -> None:
    """Write a remark on what was typed."""
    ask(f"[{remark}]\n")


def leave_at_once(status: int) -> None:
    """End although the model's thread is deep in a load that cannot be stopped.

    Python's own way out would wait for it, or take its memory away under it; all chats are on the disk.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
