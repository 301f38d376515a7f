"""`takeback` alone: the chat."""

from __future__ import annotations

import argparse
import os
import sys

from assistant.described import add_flags
from assistant.settings import SETTINGS
from assistant.usage import UsageError


def add_arguments_chat(parser: argparse.ArgumentParser) -> None:
    """The arguments of the chat."""
    names = ("model", "system", "reset_token", "ctx", "threads", "gpu_layers", "theme", "plain")
    begins = "begin a new chat with this system message"
    plain = "the chat line by line, for screen readers, simple terminals and pipes: words for events, nothing redrawn"
    add_flags(parser, *(SETTINGS[name] for name in names), system=begins, plain=plain)
    parser.add_argument(
        "--stream",
        action="store_true",
        help="with --plain: read each paragraph at once, not when the reply is done. What was read cannot be "
        "unsaid: if the model takes it back, a line says so",
    )
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
    from assistant.paths import database, log_file
    from assistant.settings import config_path, load_settings, read_keys

    settings = load_settings(vars(args))
    terminal = all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
    dumb = terminal and os.environ.get("TERM") == "dumb"
    if settings.plain or dumb:
        from assistant.plain.cli import run_plain

        why = (
            ""
            if settings.plain
            else "This terminal says that it is dumb (TERM), so here is the chat line by line"
        )
        return run_plain(
            settings,
            stream=args.stream,
            begin_new=args.system is not None,
            show_discarded=args.show_discarded,
            why=why,
        )
    if args.stream:
        raise UsageError("--stream is for --plain; give both")
    if not terminal:
        raise UsageError(
            "the chat needs a terminal; without one, use: takeback --plain, or for one reply: takeback ask TEXT"
        )
    loading = load_options(settings, keeps="chats")
    writing = generate_options(settings, show_discarded=args.show_discarded)

    from assistant.loading import loader
    from assistant.tui.app import ChatApp
    from assistant.tui.keys import parse

    name = os.path.basename(settings.model) if settings.model else "default model"  # noqa: PTH119 - it may be a name
    app = ChatApp(
        loader(settings.model, loading),
        database(),
        system=args.system or settings.system,
        model_name=name,
        options=writing,
        begin_new=args.system is not None,
        theme=settings.theme,
        keymap=parse(read_keys(), str(config_path())),
        log=log_file(),
        models=(settings.model or "default", lambda name: loader(name, loading)),
        read_settings=lambda: load_settings(vars(args)),
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
