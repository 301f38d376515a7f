"""What may stand next on a command line of `takeback`, found in the commands' own parsers."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from assistant.cli import CHAT, COMMANDS, add_arguments
from convert.errors import TakebackError
from convert.untrusted import clean_line

MOST_CHATS = 200

Kind = Literal["words", "files", "folders"]
"""What the shell itself should offer besides: nothing, files, or folders alone."""

_FILES = ("FILE", "MODEL", "M", "SOURCE", "OUT", "BASE", "BENIGN", "HELDOUT")
_FOLDERS = ("DIR",)


class Offer(NamedTuple):
    """What is offered: words, each with one line on it, and what the shell adds."""

    words: list[tuple[str, str]]
    kind: Kind = "words"


def offer(line: Sequence[str]) -> Offer:
    """What may stand in the place of the last word of a line, which is begun or empty, after the others."""
    *before, begun = line or [""]
    if begun == "=":  # bash takes --option=value apart
        begun = ""
    found = _offer([word for word in before if word != "="], begun)
    return Offer(
        [(word, clean_line(about)) for word, about in found.words if word.startswith(begun)], found.kind
    )


def _offer(before: Sequence[str], begun: str) -> Offer:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-h", "--help", action="store_true", help="show help")
    if before and before[0] in COMMANDS:
        name = before[0]
        add_arguments(COMMANDS[name], parser)
        return _within(parser, name, before[1:], begun)
    if not before and not begun.startswith("-"):
        return Offer([(name, command.summary) for name, command in COMMANDS.items()])
    add_arguments(CHAT, parser)
    parser.add_argument("--version", action="store_true", help="show the version")
    return _within(parser, "", before, begun)


def _within(parser: argparse.ArgumentParser, name: str, before: Sequence[str], begun: str) -> Offer:
    """The offer within a command: what stands before is read as its parser would read it."""
    options, positionals = _actions(parser)
    waiting: argparse.Action | None = None
    given: set[str] = set()
    for word in before:
        if waiting is not None and not word.startswith("-"):
            waiting = waiting if waiting.nargs in ("+", "*") else None
        elif word in options:
            given.update(options[word].option_strings)
            waiting = options[word] if options[word].nargs != 0 else None
        elif word.startswith("-"):
            waiting = None
        elif positionals:
            action = positionals[0]
            if isinstance(action, argparse._SubParsersAction) and word in action.choices:
                return _within(
                    action.choices[word], f"{name} {word}".strip(), before[before.index(word) + 1 :], begun
                )
            if action.nargs not in ("+", "*"):
                positionals = positionals[1:]
    if waiting is not None and not begun.startswith("-"):
        return _values(waiting, name)
    option, equals, _ = begun.partition("=")
    if equals and option in options:
        values = _values(options[option], name)
        return Offer([(f"{option}={value}", about) for value, about in values.words])
    if begun.startswith("-") or not positionals:
        return Offer([(flag, _about(action)) for flag, action in options.items() if flag not in given])
    return _values(positionals[0], name)


def _actions(parser: argparse.ArgumentParser) -> tuple[dict[str, argparse.Action], list[argparse.Action]]:
    """The options by flag, and the positional arguments in order; what is hidden is left out."""
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    options = {flag: action for action in shown for flag in action.option_strings if flag.startswith("--")}
    return options, [action for action in shown if not action.option_strings]


def _values(action: argparse.Action, name: str) -> Offer:
    """What an argument of a command may be."""
    if isinstance(action, argparse._SubParsersAction):
        return Offer([(choice.dest, choice.help or "") for choice in action._choices_actions])
    if action.choices is not None:
        return Offer([(str(choice), "") for choice in action.choices])
    if (name.partition(" ")[0], action.dest) == ("chats", "id"):
        return Offer(list(_chats()))
    if (name, action.dest) == ("models remove", "name"):
        return Offer(list(_models()))
    return _models_and_files(action, name)


def _models_and_files(action: argparse.Action, name: str) -> Offer:
    if action.dest == "model" or (name, action.dest) == ("models show", "name"):
        return Offer([("default", "built in"), *_models()], "files")
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if metavar in _FOLDERS:
        return Offer([], "folders")
    return Offer([], "files" if action.type is Path or metavar in _FILES else "words")


def _chats() -> Iterator[tuple[str, str]]:
    from assistant.conversation.titles import titles  # noqa: PLC0415 (only here)
    from assistant.paths import database  # noqa: PLC0415

    return ((str(number), title) for number, title in titles(database(), MOST_CHATS))


def _models() -> Iterator[tuple[str, str]]:
    from assistant.models.library import models  # noqa: PLC0415 (only here)

    with suppress(TakebackError):
        yield from ((model.name, f"{model.size / 1e6:,.0f} MB") for model in models())


def _about(action: argparse.Action) -> str:
    """What an option does, without its details."""
    about = (action.help or "").replace("%%", "%")
    return re.split("; |[.] ", about, maxsplit=1)[0]
