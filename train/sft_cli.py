"""`takeback train sft`: parse, call."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from assistant.usage import above_zero, from_zero, positive, seed, share
from convert.errors import UsageError
from train.settings import FULL_RATE, LossWeights, SftSettings, Shares

ABOUT = """\
Supervised training of a model that takes back its drafts. A LoRA adapter is trained, or with --full all weights. Where
the run ends early (--patience), or to its last step, the result is in --out beside its record, backtrack.json.
"""
EXAMPLES = """\
examples:
  an adapter for the default base
    takeback train sft --data data/train.jsonl --heldout data/heldout.jsonl --out run/
  nearly the paper's recipe: one random prefix a draft, its two terms, chat for helpfulness
    takeback train sft --base FOLDER --data rows.jsonl --chat chat.jsonl --out run/ --after-reset keep \\
        --prefixes sampled --share-keep 1 --share-rewind 0 --share-direct 1 --share-needless 0 \\
        --weight-direct 1
  all weights, stored as a checkpoint; or as an adapter of rank 64
    takeback train sft --base FOLDER --data rows.jsonl --out run/ --full [--store-rank 64]
  until five looks at the held-out rows showed nothing better
    takeback train sft --data rows.jsonl --heldout heldout.jsonl --out run/ --steps 2000 --patience 5
  on four graphics cards
    accelerate launch --multi_gpu --num_processes 4 -m assistant.cli train sft --data rows.jsonl --out run/

A data file is JSON lines. Safety rows: {"prompt": ..., "unsafe": a draft, "safe": what to say instead}.
Benign rows, and those of --chat: {"prompt": ..., "reply": ...}. "messages" (a list of {role, content}, the last the
user's) may stand for "prompt".
P is a prompt, d a draft, R the reset token, y the reply. An interrupted run goes on where its last checkpoint was: give
the same command again.
"""
NUMBERS: dict[str, tuple[Callable[[str], object], str]] = {
    "reset-token": (str, "text of the reset token"),
    "steps": (positive, "optimizer steps"),
    "row-rate": (above_zero, "that of the reset row"),
    "rank": (positive, "rank of the LoRA adapter"),
    "batch-tokens": (positive, "padded tokens a step"),
    "pieces": (positive, "parts a step is computed in, to save memory"),
    "max-length": (positive, "tokens a sequence"),
    "seed": (seed, "seed of the order and of the adapter's start"),
    "every": (positive, "steps between looks at the held-out rows"),
    "save-every": (
        positive,
        "steps between checkpoints; with --full each is three times the model in float32",
    ),
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
    "words": "the words of safe replies and of chat",
    "direct": "those of the second term, relative to them",
    "keep_model": "divergence from the base on benign replies",
}
PLAIN = {field.name: field.default for field in fields(SftSettings)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `takeback train sft`, with the settings' own defaults."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = ABOUT, EXAMPLES
    parser.add_argument(
        "--base", type=Path, help="folder of safetensors or GGUF file (default: the bundled base)"
    )
    parser.add_argument(
        "--adapter",
        type=Path,
        help="an earlier run's adapter on this base to start from, as a new run: its rank and reset token hold",
    )
    parser.add_argument("--data", type=Path, required=True, help="training rows (JSON lines)")
    parser.add_argument("--heldout", type=Path, help="rows to measure on, never trained on")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the run: checkpoints, log, adapter"
    )
    for name, (kind, told) in NUMBERS.items():
        default = PLAIN[name.replace("-", "_")]
        parser.add_argument(f"--{name}", type=kind, default=default, help=f"{told} (default: %(default)s)")
    parser.add_argument(
        "--rate",
        type=above_zero,
        help=f"peak learning rate (default: {PLAIN['rate']:g}, with --full {FULL_RATE:g})",
    )
    parser.add_argument("--threads", type=positive, default=0, help="CPU threads (default: torch's)")
    parser.add_argument(
        "--after-reset", choices=["rewind", "keep"], default="rewind", help="what the record says"
    )
    _forms(parser)
    _whole(parser)
    _ending(parser)
    for group, terms, letter in ((Shares, FORMS, "share"), (LossWeights, TERMS, "weight")):
        for field in fields(group):
            parser.add_argument(
                f"--{letter}-{field.name.replace('_', '-')}",
                type=share if group is Shares else from_zero,
                default=field.default,
                metavar=letter[0].upper(),
                help=f"{terms[field.name]} (default: %(default)s)",
            )


def _forms(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prefixes",
        choices=["dense", "sampled"],
        default=PLAIN["prefixes"],
        help="where in a draft the reset is taught: at every position, or as in the paper behind one random cut a "
        "draft and epoch (default: %(default)s)",
    )
    parser.add_argument("--chat", type=Path, help="benign rows whose replies are learnt as they stand")
    parser.add_argument(
        "--chat-share",
        type=share,
        default=PLAIN["chat_share"],
        metavar="S",
        help="share of chat among all sequences, below 1 (default: %(default)s)",
    )


def _whole(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--full",
        action="store_true",
        help="train all weights, in float32; without --store-rank the result is a whole checkpoint in bfloat16",
    )
    parser.add_argument(
        "--store-rank",
        type=positive,
        default=PLAIN["store_rank"],
        metavar="N",
        help="with --full: store what was learnt as a LoRA adapter of this rank, cut by a singular value "
        "decomposition; then linear layers and the reset row are trained, which is what an adapter can hold",
    )


def _ending(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--patience",
        type=positive,
        default=PLAIN["patience"],
        metavar="N",
        help="end early, with the best look's weights, once N looks at the held-out rows in a row caught no larger "
        "share of the unsafe drafts (`caught` in the log, at the bias that takes back 2%% of the benign replies), or "
        "one look is above --benign-limit (default: never)",
    )
    parser.add_argument(
        "--benign-limit",
        type=share,
        default=PLAIN["benign_limit"],
        metavar="P",
        help="with --patience: the largest mean probability of the reset in benign replies (default: %(default)s)",
    )


def run(args: argparse.Namespace, tell: Callable[[str], None]) -> int:
    """Run the training; returns the exit status."""
    if args.chat_share >= 1:
        raise UsageError("--chat-share must be below 1: a run of chat alone teaches no reset")
    if args.store_rank and not args.full:
        raise UsageError("--store-rank is for --full; the rank of a LoRA adapter is --rank")
    if args.rate is None:
        args.rate = FULL_RATE if args.full else PLAIN["rate"]
    from assistant.models.bundled import base_model
    from train.sft import train

    groups = {"shares": ("share", Shares), "weights": ("weight", LossWeights)}
    made = {
        name: kind(**{field.name: getattr(args, f"{letter}_{field.name}") for field in fields(kind)})
        for name, (letter, kind) in groups.items()
    }
    given = {field.name for field in fields(SftSettings)} & vars(args).keys() - {"base"}
    named = {name: getattr(args, name) for name in given}
    train(SftSettings(base=args.base or base_model(), **made, **named), tell)
    return 0
