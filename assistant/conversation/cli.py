"""`takeback chats`: list, search, show, export and delete the chats on this machine."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from pathlib import Path

from assistant.conversation.export import as_json, as_markdown
from assistant.conversation.history import History
from assistant.conversation.reading import read_chat
from assistant.conversation.records import Chat
from assistant.paths import database
from convert.errors import TakebackError
from convert.untrusted import clean_line


def add_arguments_chats(parser: argparse.ArgumentParser) -> None:
    """The arguments of `takeback chats`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="list the chats, the last one first (what happens without an action)")
    search = actions.add_parser("search", help="find messages that hold all these words, or their beginnings")
    search.add_argument("words", nargs="+", metavar="WORDS")
    show = actions.add_parser("show", help="print a chat to read")
    export = actions.add_parser("export", help="print a chat for another program")
    take = actions.add_parser("import", help="store a chat that was exported, or a JSON list of messages")
    take.add_argument("file", type=Path, metavar="FILE", help="JSON or Markdown")
    delete = actions.add_parser("delete", help="delete a chat, leaving nothing of it in the file")
    for action in (show, export, delete):
        action.add_argument("id", type=int, metavar="ID")
    form = export.add_mutually_exclusive_group()
    form.add_argument("--md", action="store_true", help="as Markdown (the default)")
    form.add_argument("--json", action="store_true", help="as JSON; what was taken back is in neither")


def run_chats(args: argparse.Namespace) -> int:
    """Do what `takeback chats` was asked to do.

    Raises:
        TakebackError: it cannot be done.
    """
    with History(database()) as history:
        if args.action == "search":
            return _search(history, " ".join(args.words))
        if args.action == "import":
            return _import(history, args.file)
        if args.action in ("show", "export", "delete"):
            chat = _chat(history, args.id)
            if args.action == "delete":
                history.delete(chat.id)
                print(f"Deleted {_line(chat)}")
            else:
                form = as_json if args.action == "export" and args.json else as_markdown
                sys.stdout.write(form(chat, history.entries(chat.id)))
            return 0
        for chat in history.chats():
            print(_line(chat))
    return 0


def _search(history: History, words: str) -> int:
    hits = history.search(words)
    if not hits:
        print("No message holds all of these words.", file=sys.stderr)
    for hit in hits:
        print(f"{_line(hit.chat)}\n        {clean_line(hit.excerpt)}")
    return 0


def _import(history: History, file: Path) -> int:
    chat = history.chat(history.take_in(read_chat(file)))
    assert chat is not None
    print(_line(chat))
    return 0


def _chat(history: History, number: int) -> Chat:
    # SQLite's numbers end at 64 bits.
    chat = history.chat(number) if abs(number) < 1 << 63 else None
    if chat is None:
        raise TakebackError(f"there is no chat {number}; list them with: takeback chats")
    return chat


def _line(chat: Chat) -> str:
    when = datetime.fromtimestamp(chat.updated).astimezone().strftime("%Y-%m-%d %H:%M")
    return f"{chat.id:>6}  {when}  {clean_line(chat.title)}"
