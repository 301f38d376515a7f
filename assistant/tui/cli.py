"""`takeback` alone: the chat."""

from __future__ import annotations

import argparse
import gc
import os
import sys

from assistant.usage import UsageError


def add_arguments_chat(parser: argparse.ArgumentParser) -> None:
    """The arguments of the chat."""
    parser.add_argument("--model", metavar="M", help="a GGUF file, or a name that takeback models lists")
    parser.add_argument("--system", metavar="S", help="begin a new chat with this system message")
    parser.add_argument(
        "--reset-token", metavar="T", help="the reset token's text, if the file does not say it"
    )
    parser.add_argument("--ctx", type=int, metavar="N", help="the context's length in tokens")
    parser.add_argument("--threads", type=int, metavar="N", help="threads; default: the physical cores")
    parser.add_argument("--gpu-layers", type=int, metavar="N", help="layers to put on a GPU; -1: all")


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
    loading, writing = load_options(settings), generate_options(settings)

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
