"""`takeback train`: parse, call, print."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from assistant.usage import positive
from convert.errors import TakebackError
from train import dpo_cli, sft_cli

EXAMPLES = """\
examples:
  takeback train data --sets SETS --out data/ --exclude EVAL/*.csv
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
    _data(commands.add_parser("data", help="build training data with the base model's own replies"))


def run_train(args: argparse.Namespace) -> int:
    """Run the subcommand that was chosen; returns the exit status."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise TakebackError(f"training needs {missing[0]}: pip install 'takeback[train]'")
    if args.train_command == "data":
        return _run_data(args)
    return {"sft": sft_cli, "dpo": dpo_cli}[args.train_command].run(args, _tell)


NEEDED = ("torch", "transformers", "peft", "accelerate", "safetensors")


def _data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sets", type=Path, required=True, help="folder of the public sets (see the model card)"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the replies, train.jsonl, heldout.jsonl"
    )
    parser.add_argument(
        "--base", type=Path, help="folder of safetensors or GGUF file (default: the bundled base)"
    )
    parser.add_argument("--exclude", type=Path, nargs="*", default=[], help="CSV files of evaluation prompts")
    parser.add_argument(
        "--batch", type=positive, default=64, help="replies sampled at a time (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--unread", type=Path, help="write drafts that nobody has labelled to this CSV, and stop"
    )


def _run_data(args: argparse.Namespace) -> int:
    from assistant.models.bundled import base_model
    from train.data import build

    build(
        args.sets,
        args.out,
        args.base or base_model(),
        args.exclude,
        args.batch,
        args.seed,
        args.unread,
        _tell,
    )
    return 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
