"""`takeback models`: list, add, pull, show and remove the models on this machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from assistant.models import library
from assistant.models.facts import facts
from assistant.models.library import DEFAULT, Model
from convert.gguf_header import GGUFHeader, read_header
from convert.reset_token import read_contract
from convert.untrusted import clean_line


def add_arguments_models(parser: argparse.ArgumentParser) -> None:
    """The arguments of `takeback models`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="list the models (what happens without an action)")
    add = actions.add_parser("add", help="take a GGUF file into the list")
    add.add_argument("file", type=Path, metavar="FILE")
    pull = actions.add_parser("pull", help="fetch a GGUF file of a repository on the Hugging Face hub")
    pull.add_argument("repo", metavar="REPO", help="ORG/NAME, or ORG/NAME@REVISION")
    pull.add_argument("file", nargs="?", metavar="FILE", help="which file, where the repository has several")
    pull.add_argument("--name", metavar="N", help="what it is called here (default: the file's name)")
    pull.add_argument(
        "--offline",
        action="store_true",
        help="use no network: only what huggingface-hub's cache has (as with HF_HUB_OFFLINE=1)",
    )
    for name, text in (
        ("remove", "remove a model's file"),
        ("show", "what a model's file says about itself"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("name", metavar="NAME")


def run_models(args: argparse.Namespace) -> int:
    """Do what `takeback models` was asked to do.

    Raises:
        TakebackError: it cannot be done.
    """
    if args.action == "add":
        model = library.add(args.file)
        print(f"Added {_line(model)}")
        _tell_of_taking_back(model)
    elif args.action == "pull":
        _pull(args)
    elif args.action == "remove":
        print(f"Removed {_line(library.remove(args.name))}")
    elif args.action == "show":
        _show(args.name)
    else:
        print(f"{DEFAULT:<40}  built in")
        for model in library.models():
            print(_line(model))
    return 0


def _pull(args: argparse.Namespace) -> None:
    from assistant.models.pull import pull
    from convert.meter import Meter

    meter = Meter()
    try:
        show = meter.show if sys.stderr.isatty() else None
        pulled = pull(args.repo, args.file, name=args.name, offline=args.offline, progress=show)
    except KeyboardInterrupt:
        meter.clear()
        print("Stopped. What was fetched is kept; the same command goes on with it.", file=sys.stderr)
        raise
    finally:
        meter.clear()
    print(f"{'Here already:' if pulled.was_here else 'Pulled'} {_line(pulled.model)}")
    _tell_of_taking_back(pulled.model)


def _tell_of_taking_back(model: Model) -> None:
    if note := facts(model.path).note:
        print(f"note: {note}", file=sys.stderr)


def _line(model: Model) -> str:
    return f"{clean_line(model.name):<40}  {model.size / 1e6:,.0f} MB"


def _show(name: str) -> None:
    path = library.resolve(name)
    header = read_header(path)
    contract, note = read_contract(header)
    print(f"file          {clean_line(str(path))}")
    print(f"name          {_text(header, 'general.name')}")
    print(f"architecture  {_text(header, 'general.architecture')}")
    print(f"context       {_text(header, _text(header, 'general.architecture') + '.context_length')} tokens")
    if contract is None:
        print("takes back    no")
    else:
        print(f"takes back    yes, with {clean_line(contract.token)} (token {contract.token_id})")
        print(f"after reset   {contract.after_reset}")
        print(f"reset bias    {contract.reset_bias:+.2f}")
        print(f"hold-back     {contract.hold_back} tokens")
        print(f"calibrated    {'yes' if contract.calibrated else 'no'}")
    if note:
        print(f"note          {clean_line(note)}")


def _text(header: GGUFHeader, key: str) -> str:
    return clean_line(str(header.metadata.get(key, "not said")))
