"""`takeback` alone: the chat."""

from __future__ import annotations

import argparse
import gc
import os
import sys

from assistant.described import add_flags
from assistant.settings import SETTINGS
from assistant.usage import UsageError


def add_arguments_chat(parser: argparse.ArgumentParser) -> None:
    """The arguments of the chat."""
    names = ("model", "system", "reset_token", "ctx", "threads", "gpu_layers")
    begins = "begin a new chat with this system message"
    add_flags(parser, *(SETTINGS[name] for name in names), system=begins)
    parser.add_argument(
        "--show-discarded",
        action="store_true",
        help="let drafts that are taken back be looked at, until the chat is left; they are never stored",
    )


def run_chat(args: argparse.Namespace) -> int:
    """Run the chat until the user quits.

    Raises:
        TakebackError: a setting is wrong, or there is no terminal to run in.
    """
    from assistant.engine.options import generate_options, load_options
    from assistant.paths import database
    from assistant.settings import load_settings

    if (
        not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
        or os.environ.get("TERM") == "dumb"
    ):
        raise UsageError("the chat needs a terminal; for one reply without one, use: takeback ask TEXT")
    settings = load_settings(vars(args))
    loading, writing = load_options(settings), generate_options(
        settings, show_discarded=args.show_discarded
    )

    from assistant.conversation.reports import Model
    from assistant.tui.app import ChatApp
    from convert.progress import Progress

    def load(progress: Progress) -> Model:
        from assistant.models.library import resolve

        path = resolve(settings.model, progress)
        progress("loading the model", 0, 0)
        from assistant.engine.session import Session

        session = Session.open(path, loading, progress)
        # All modules are loaded now, and no reply has begun. Left out of the garbage collector's full
        # passes, what there is no longer makes the screen stand still for 70 ms each second of a reply.
        gc.freeze()
        return session

    name = os.path.basename(settings.model) if settings.model else "default model"  # noqa: PTH119 - it may be a name
    app = ChatApp(
        load,
        database(),
        system=args.system or settings.system,
        model_name=name,
        options=writing,
        begin_new=args.system is not None,
    )
    app.run()
    status = app.return_code or 0
    if not app.chat.end():
        # The model's thread is deep in a load that cannot be stopped. Python's own way out would wait for
        # it, or take its memory away under it; all chats are on the disk.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status
