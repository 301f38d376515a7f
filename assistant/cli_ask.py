"""The arguments of `takeback ask`."""

import argparse
from pathlib import Path

from assistant.described import add_flags
from assistant.settings import MODEL, SETTINGS, TAKING_BACK, WRITING


def add_arguments_ask(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `takeback ask`."""
    parser.add_argument(
        "text", nargs="?", metavar="TEXT", help="what to ask; else it is read from standard input"
    )
    parser.add_argument(
        "--messages", type=Path, metavar="FILE", help="a whole conversation: a JSON list of {role, content}"
    )
    parser.add_argument(
        "--prefill", default="", metavar="P", help="the reply's beginning, as if the model had written it"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--grammar", type=Path, metavar="FILE", help="the reply must follow this grammar, in GBNF"
    )
    form.add_argument(
        "--json-schema", type=Path, metavar="FILE", help="the reply must be JSON that this schema allows"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="one event a line, as JSON, on standard output")
    output.add_argument(
        "--stream",
        action="store_true",
        help="write text as it comes, also into a pipe. What was written cannot be unsaid: if the model "
        "takes it back, a line says so, and the reader has read it",
    )
    add_flags(output, SETTINGS["plain"])
    output.add_argument(
        "--show-discarded", action="store_true", help="also give the drafts that were taken back"
    )
    for group in (MODEL, WRITING, TAKING_BACK):
        settings = (setting for setting in SETTINGS.values() if setting.about.group == group)
        add_flags(parser.add_argument_group(group.lower()), *settings)


def run_ask(args: argparse.Namespace) -> int:
    """Run `takeback ask`."""
    from assistant.ask import ask  # noqa: PLC0415 (it loads the engine, which --help does not need)

    return ask(args)
