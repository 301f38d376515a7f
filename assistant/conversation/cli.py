"""`takeback chats`: list, search, show, rename, delete, bring in and out the chats on this machine."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from pathlib import Path

from assistant.conversation.export import as_json, as_markdown
from assistant.conversation.history import History
from assistant.conversation.reading import read_chat
from assistant.conversation.records import Chat
from assistant.conversation.shelf import SECONDS_TO_BRING_BACK
from assistant.paths import database
from convert.errors import TakebackError
from convert.untrusted import clean_line

_EPILOG = """\
for example:
  takeback chats search sour orange      which chats and messages speak of it
  takeback chats show 12 | less          read chat 12
  takeback chats rename 12 Oranges       give it another title
  takeback chats export 12 --json > 12.json && takeback chats import 12.json
  takeback chats delete 12 && takeback chats undo

The chats are those of the chat itself (takeback, takeback --plain), in one file that takeback doctor names.
takeback chats ACTION --help tells more about each."""


def add_arguments_chats(parser: argparse.ArgumentParser) -> None:
    """The arguments of `takeback chats`."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="list the chats, the last one first (what happens without an action)")
    search = _action(actions, "search", "find messages that hold all these words, or their beginnings")
    search.add_argument("words", nargs="+", metavar="WORDS")
    show = _action(actions, "show", "print a chat to read, as Markdown")
    rename = _action(actions, "rename", "give a chat another title")
    export = _action(actions, "export", "print a chat for another program; what was taken back is not in it")
    take = _action(actions, "import", "store a chat that was exported, or a JSON list of messages")
    take.add_argument("file", type=Path, metavar="FILE", help="JSON or Markdown")
    delete = _action(
        actions,
        "delete",
        f"delete a chat; for {SECONDS_TO_BRING_BACK // 60:.0f} minutes undo brings it back, then it goes for good",
    )
    undo = _action(actions, "undo", "bring back the chat that was deleted last, or another deleted one")
    for action in (show, rename, export, delete):
        action.add_argument("id", type=int, metavar="ID", help="the number that list and search give")
    rename.add_argument("title", nargs="+", metavar="TITLE")
    undo.add_argument("id", type=int, nargs="?", metavar="ID")
    delete.add_argument(
        "--now", action="store_true", help="leave nothing of it in the file, and nothing to undo"
    )
    form = export.add_mutually_exclusive_group()
    form.add_argument("--md", action="store_true", help="as Markdown (the default)")
    form.add_argument("--json", action="store_true", help="as JSON")


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str
) -> argparse.ArgumentParser:
    return actions.add_parser(name, help=summary, description=f"{summary[:1].upper()}{summary[1:]}.")


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
        if args.action == "undo":
            return _undo(history, args.id)
        if args.action is None or args.action == "list":
            for chat in history.chats():
                print(_line(chat))
            return 0
        _do(history, args, _chat(history, args.id))
    return 0


def _do(history: History, args: argparse.Namespace, chat: Chat) -> None:
    """Do what was asked to be done with one chat."""
    if args.action == "rename":
        history.rename(chat.id, " ".join(args.title))
        print(_line(_chat(history, chat.id)))
    elif args.action == "delete" and args.now:
        history.delete(chat.id)
        print(f"Deleted for good {_line(chat)}")
    elif args.action == "delete":
        history.put_away(chat.id)
        print(f"Deleted {_line(chat)}; to undo it: takeback chats undo")
    else:
        form = as_json if args.action == "export" and args.json else as_markdown
        sys.stdout.write(form(chat, history.entries(chat.id)))


def _undo(history: History, number: int | None) -> int:
    deleted = [chat for chat in history.deleted() if number in (None, chat.id)]
    if not deleted:
        which = "that was deleted" if number is None else f"{number} that was deleted"
        raise TakebackError(f"there is no chat {which} and can be brought back")
    history.bring_back(deleted[0].id)
    print(f"Back again {_line(deleted[0])}")
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
