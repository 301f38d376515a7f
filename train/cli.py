"""`takeback train`: parse, call, print."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from assistant.usage import positive
from convert.errors import TakebackError
from train import dpo_cli
from train.settings import LossWeights, SftSettings, Shares

EXAMPLES = """\
examples:
  takeback train data --sets SETS --out data/ --exclude EVAL/*.csv
  takeback train sft --data data/train.jsonl --heldout data/heldout.jsonl --out run/
  accelerate launch -m assistant.cli train sft --base ORG_FOLDER --data rows.jsonl --out run/

A data file is JSON lines. Safety rows: {"prompt": ..., "unsafe": a draft, "safe": what to say instead}.
Benign rows: {"prompt": ..., "reply": ...}. "messages" (a list of {role, content}) may stand for "prompt".
An interrupted run goes on where its last checkpoint was: give the same command again.
"""


def add_arguments_train(parser: argparse.ArgumentParser) -> None:
    """The subcommands of `takeback train`."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="train_command", required=True, metavar="COMMAND")
    _sft(commands.add_parser("sft", help="supervised training: drafts that turn unsafe are taken back"))
    dpo_cli.add_arguments(commands.add_parser("dpo", help="preference training, from a supervised result"))
    _data(commands.add_parser("data", help="build training data with the base model's own replies"))


def run_train(args: argparse.Namespace) -> int:
    """Run the subcommand that was chosen; returns the exit status."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise TakebackError(f"training needs {missing[0]}: pip install 'takeback[train]'")
    if args.train_command == "dpo":
        return dpo_cli.run(args, _tell)
    return {"sft": _run_sft, "data": _run_data}[args.train_command](args)


def _sft(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--base", type=Path, help="folder of safetensors or GGUF file (default: the bundled base)"
    )
    parser.add_argument("--data", type=Path, required=True, help="training rows (JSON lines)")
    parser.add_argument("--heldout", type=Path, help="rows to measure on, never trained on")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the run: checkpoints, log, adapter"
    )
    plain = {field.name: field.default for field in fields(SftSettings)}
    for name, (kind, told) in NUMBERS.items():
        parser.add_argument(
            f"--{name}",
            type=kind,
            default=plain[name.replace("-", "_")],
            help=f"{told} (default: %(default)s)",
        )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's)")
    parser.add_argument(
        "--after-reset", choices=["rewind", "keep"], default="rewind", help="what the record says"
    )
    for group, terms, letter in ((Shares, FORMS, "share"), (LossWeights, TERMS, "weight")):
        for field in fields(group):
            parser.add_argument(
                f"--{letter}-{field.name.replace('_', '-')}",
                type=float,
                default=field.default,
                metavar=letter[0].upper(),
                help=f"{terms[field.name]} (default: %(default)s)",
            )


NEEDED = ("torch", "transformers", "peft", "accelerate", "safetensors")
NUMBERS: dict[str, tuple[Callable[[str], object], str]] = {
    "reset-token": (str, "text of the reset token"),
    "steps": (positive, "optimizer steps"),
    "rate": (float, "peak learning rate"),
    "row-rate": (float, "that of the reset row"),
    "rank": (positive, "rank of the LoRA adapter"),
    "batch-tokens": (positive, "padded tokens a step"),
    "pieces": (positive, "parts a step is computed in, to save memory"),
    "max-length": (positive, "tokens a sequence"),
    "seed": (int, "seed of the order and of the adapter's start"),
    "every": (positive, "steps between looks at the held-out rows"),
}
FORMS = {
    "keep": "share of safety rows shown as the paper's P d R y",
    "rewind": "share shown as P R y",
    "direct": "share shown as P y, the paper's second term",
    "needless": "share of benign rows shown as P R y",
}
TERMS = {
    "reset": "the reset inside unsafe drafts",
    "forbid": "no reset elsewhere, summed over a reply",
    "words": "the words of safe replies",
    "direct": "those of the second term, relative to them",
    "keep_model": "divergence from the base on benign replies",
}


def _run_sft(args: argparse.Namespace) -> int:
    from assistant.models.bundled import base_model
    from train.sft import train

    groups = {"shares": ("share", Shares), "weights": ("weight", LossWeights)}
    made = {
        name: kind(**{field.name: getattr(args, f"{letter}_{field.name}") for field in fields(kind)})
        for name, (letter, kind) in groups.items()
    }
    given = {field.name for field in fields(SftSettings)} & vars(args).keys() - {"base"}
    train(
        SftSettings(base=args.base or base_model(), **made, **{name: getattr(args, name) for name in given}),
        _tell,
    )
    return 0


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
