"""`takeback train`: parse, call, print."""

from __future__ import annotations

import argparse
import importlib.util
import sys

from convert.errors import TakebackError
from train import data_cli, dpo_cli, sft_cli

EXAMPLES = """\
examples:
  takeback train data --sets SETS --out data/ --exclude EVAL/*.csv
  takeback train data --base MODEL.gguf --prompts mine.jsonl --out data/      (more: takeback train data --help)
  takeback train sft --data data/train.jsonl --heldout data/heldout.jsonl --out run/

A data file is JSON lines. Safety rows: {"prompt": ..., "unsafe": a draft, "safe": what to say instead}.
Benign rows: {"prompt": ..., "reply": ...}. "messages" (a list of {role, content}) may stand for "prompt".
An interrupted run goes on where its last checkpoint was: give the same command again.
More examples, for other bases, all weights and several graphics cards: takeback train sft --help
"""


def add_arguments_train(parser: argparse.ArgumentParser) -> None:
    """The subcommands of `takeback train`."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="train_command", required=True, metavar="COMMAND")
    sft_cli.add_arguments(
        commands.add_parser("sft", help="supervised training: drafts that turn unsafe are taken back")
    )
    dpo_cli.add_arguments(commands.add_parser("dpo", help="preference training, from a supervised result"))
    data_cli.add_arguments(
        commands.add_parser("data", help="build training data with the base model's own replies")
    )


def run_train(args: argparse.Namespace) -> int:
    """Run the subcommand that was chosen; returns the exit status."""
    if args.train_command == "data":
        return data_cli.run(args, _tell)  # a GGUF file's own words need no training extra
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise TakebackError(f"training needs {missing[0]}: pip install 'takeback[train]'")
    return {"sft": sft_cli, "dpo": dpo_cli}[args.train_command].run(args, _tell)


NEEDED = ("torch", "transformers", "peft", "accelerate", "safetensors")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
