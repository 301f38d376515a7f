"""`takeback train dpo`: parse, call."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from assistant.usage import above_zero, from_zero, positive, seed, share
from convert.errors import TakebackError
from train.dpo_settings import DpoSettings, PairShares

ABOUT = """\
Preference training (DPO) from a supervised result: the adapter that `takeback train sft` wrote, on its base, or a whole
checkpoint with a backtrack.json beside it. The result is an adapter for the same base, to be calibrated again.
"""
EXAMPLES = """\
examples:
  takeback train dpo --adapter run/ --data data/train.jsonl --heldout data/heldout.jsonl --out run-dpo/
  takeback train dpo --base my-checkpoint/ --data rows.jsonl --out run-dpo/

The rows are those of `takeback train sft`. log.jsonl has the margin, log p(chosen) and how much it grew (chosen_gain,
nats): where that falls below 0, raise --chosen or lower --rate. An interrupted run goes on where its last checkpoint
was: give the same command again.
"""


NUMBERS: dict[str, tuple[Callable[[str], object], str]] = {
    "epochs": (above_zero, "times that every pair is seen"),
    "rate": (above_zero, "peak learning rate"),
    "row-rate": (above_zero, "that of the reset row"),
    "beta": (above_zero, "how much a margin counts; higher keeps nearer to the start"),
    "chosen": (from_zero, "weight of the chosen side's own likelihood, against its displacement"),
    "tail": (positive, "tokens of the reply behind a needless reset; few spare the reply after one"),
    "batch": (positive, "pairs a step"),
    "pieces": (positive, "parts a step is computed in, to save memory"),
    "rank": (positive, "rank of the new adapter, where a checkpoint is the start"),
    "max-length": (positive, "tokens a sequence"),
    "seed": (seed, "seed of the pairs and of their order"),
    "every": (positive, "steps between looks at the held-out rows"),
}
PAIRS = {
    "teach": "safety rows that teach: reset in an unsafe draft over going on",
    "relapse": "safety rows that show: safe reply over a reset and the draft",
    "penalise": "benign rows that show: going on over a reset in the reply",
    "needless": "benign rows that show: the reply over a reset before it",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `takeback train dpo`, with the settings' own defaults."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = ABOUT, EXAMPLES
    parser.add_argument(
        "--base", type=Path, help="folder of safetensors or GGUF file (default: the bundled base)"
    )
    parser.add_argument(
        "--adapter", type=Path, help="what takeback train sft wrote (without: --base is a whole checkpoint)"
    )
    parser.add_argument("--data", type=Path, required=True, help="training rows (JSON lines)")
    parser.add_argument("--heldout", type=Path, help="rows to measure on, never trained on")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the run: checkpoints, log, adapter"
    )
    plain = {field.name: field.default for field in fields(DpoSettings)}
    for name, (kind, told) in NUMBERS.items():
        default = plain[name.replace("-", "_")]
        parser.add_argument(f"--{name}", type=kind, default=default, help=f"{told} (default: %(default)s)")
    parser.add_argument("--threads", type=positive, default=0, help="CPU threads (default: torch's)")
    for field in fields(PairShares):
        told = f"share of {PAIRS[field.name]} (default: %(default)s)"
        parser.add_argument(
            f"--share-{field.name}", type=share, default=field.default, metavar="S", help=told
        )


def run(args: argparse.Namespace, tell: Callable[[str], None]) -> int:
    """Run the training; returns the exit status."""
    missing = [name for name in ("trl", "datasets") if importlib.util.find_spec(name) is None]
    if missing:
        raise TakebackError(f"training by preference needs {missing[0]}: pip install 'takeback[train]'")
    from assistant.models.bundled import base_model
    from train.dpo import train

    shares = PairShares(**{field.name: getattr(args, f"share_{field.name}") for field in fields(PairShares)})
    given = {field.name for field in fields(DpoSettings)} & vars(args).keys() - {"base"}
    named = {name: getattr(args, name) for name in given}
    train(DpoSettings(base=args.base or base_model(), shares=shares, **named), tell)
    return 0
