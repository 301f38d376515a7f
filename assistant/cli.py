"""The `takeback` command: a table of subcommands, each loaded when it is called."""

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import NamedTuple, cast

from assistant.signals import leave, on_signals
from assistant.usage import UsageError
from convert.errors import TakebackError
from convert.untrusted import clean_line


class Command(NamedTuple):
    """Where a subcommand lives: functions that add its arguments and that run it, and a line of help."""

    module: str
    add_arguments: str
    run: str
    summary: str


def _command(module: str, name: str, summary: str) -> Command:
    """A command whose functions are named after it, as all are."""
    return Command(module, f"add_arguments_{name}", f"run_{name}", summary)


CHAT = _command("assistant.tui.cli", "chat", "the chat")
COMMANDS = {
    "ask": _command("assistant.cli_ask", "ask", "one reply on standard output"),
    "chats": _command(
        "assistant.conversation.cli",
        "chats",
        "past chats: list, search, show, rename, export, import, delete, undo",
    ),
    "models": _command(
        "assistant.models.cli", "models", "models on this machine: list, add, pull, show, remove"
    ),
    "convert": _command("convert.cli", "convert", "make a GGUF file of a checkpoint or an adapter"),
    "verify": _command("convert.cli", "verify", "prove a GGUF file against its source"),
    "train": _command("train.cli", "train", "teach a model to take back (needs the extra train)"),
    "calibrate": _command(
        "train.calibrate_cli", "calibrate", "set when a model takes back, measured on held-out replies"
    ),
    "evaluate": _command("evals.cli", "evaluate", "measure what a model takes back, and what it should not"),
    "attack": _command("evals.attacks.cli", "attack", "attack a model with resets and without"),
    "bench": _command("evals.cli", "bench", "measure how fast it all is on this machine"),
    "serve": _command(
        "assistant.serve.cli", "serve", "a local OpenAI-compatible endpoint (needs the extra serve)"
    ),
    "doctor": _command(
        "assistant.doctor_cli", "doctor", "what is installed, where things are, what uses the network"
    ),
    "completions": _command(
        "assistant.completions.cli", "completions", "the script that completes commands in bash, zsh or fish"
    ),
}

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

_DESCRIPTION = """\
A local chat assistant whose model can take back what it has begun to say.

Without a command, takeback opens the chat."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status: 0 done, 1 failed, 2 bad usage, 130 interrupted.

    By SIGTERM and SIGHUP it ends as by Ctrl-C, with 143 and 129.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    on_signals(leave)
    try:
        return _run_to_the_end(words)
    except UsageError as error:
        return _fail(error, 2)
    except TakebackError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _drop_output()  # the reader has gone
        return 1


def _drop_output() -> None:
    """Write no more to standard output: Python would complain when it flushes it at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: TakebackError, status: int) -> int:
    print(f"takeback: error: {clean_line(str(error))}", file=sys.stderr)
    return status


def _run_to_the_end(words: list[str]) -> int:
    """Run, and write out what is still to be written, so that a failure of that is seen here."""
    try:
        try:
            return _run(words)
        finally:
            if sys.stdout:  # it may be closed
                sys.stdout.flush()
    except MemoryError as error:
        raise TakebackError("there is not enough memory; close other programs, or ask for less") from error
    except OSError as error:
        if error.errno not in _NO_ROOM or error.filename is not None:
            raise
        _drop_output()
        raise TakebackError(f"the output cannot be written: {error.strerror}; make room for it") from error


def _run(words: list[str]) -> int:
    if words and words[0] in COMMANDS:
        return _call(COMMANDS[words[0]], f"takeback {words[0]}", words[1:])
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help", "--version")):
        return _call(CHAT, "takeback", words)
    parser = argparse.ArgumentParser(
        prog="takeback",
        usage="takeback [COMMAND] [OPTION ...]",
        description=_DESCRIPTION,
        epilog=_list_commands(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    add_arguments(CHAT, parser.add_argument_group("the chat's options"))
    known, unknown = parser.parse_known_args(words)
    if known.version:
        print(f"takeback {_version()}")
        return 0
    parser.error(f"no such command: {clean_line(unknown[0])}; there is {', '.join(COMMANDS)}")


def _call(command: Command, name: str, words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog=name, description=_capitalized(command.summary), allow_abbrev=False)
    add_arguments(command, parser)
    run = cast(Callable[[argparse.Namespace], int], getattr(import_module(command.module), command.run))
    return run(parser.parse_args(words))


def add_arguments(command: Command, parser: argparse._ActionsContainer) -> None:
    """Give a parser the arguments of a command."""
    getattr(import_module(command.module), command.add_arguments)(parser)


def _list_commands() -> str:
    lines = [f"  {name:<11} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(["commands:", *lines, "", "takeback COMMAND --help tells more about each."])


def _capitalized(summary: str) -> str:
    return f"{summary[:1].upper()}{summary[1:]}."


def _version() -> str:
    from importlib import metadata  # slow, and only this needs it

    try:
        return metadata.version("takeback")
    except metadata.PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
