"""The arguments of `takeback doctor`, and how it prints."""

from __future__ import annotations

import argparse
import dataclasses
import json
from itertools import groupby


def add_arguments_doctor(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `takeback doctor`."""
    parser.epilog = (
        "Exit status: 0 if nothing is broken, 1 if something is. No text of a chat is in the output."
    )
    parser.add_argument("--json", action="store_true", help="print the facts as one JSON object")


def run_doctor(args: argparse.Namespace) -> int:
    """Print what was found; 1 where something is broken."""
    from assistant.doctor import examine

    if args.json:
        facts = list(examine())
        broken = sum(fact.remedy is not None for fact in facts)
        print(json.dumps({"broken": broken, "facts": [dataclasses.asdict(fact) for fact in facts]}))
        return 1 if broken else 0
    broken = 0
    for part, found in groupby(examine(), lambda fact: fact.part):
        print(part.capitalize())
        for fact in found:
            print(f"  {fact.name:<16}  {fact.value}")
            if fact.remedy is not None:
                broken += 1
                print(f"  {'':<16}  BROKEN: {fact.remedy}")
    print(f"{broken} broken" if broken else "Nothing is broken.")
    return 1 if broken else 0
