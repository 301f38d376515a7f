"""`takeback train`: parse, call, print."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from assistant.usage import positive
from convert.errors import TakebackError

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
    _data(commands.add_parser("data", help="build training data with the base model's own replies"))
    _calibrate(commands.add_parser("calibrate", help="reset bias and hold-back of an adapter, measured"))


def run_train(args: argparse.Namespace) -> int:
    """Run the subcommand that was chosen; returns the exit status."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing and args.train_command != "calibrate":
        raise TakebackError(f"training needs {missing[0]}: pip install 'takeback[train]'")
    return {"sft": _run_sft, "data": _run_data, "calibrate": _run_calibrate}[args.train_command](args)


def _sft(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--base", type=Path, help="folder of safetensors or GGUF file (default: the bundled base)"
    )
    parser.add_argument("--data", type=Path, required=True, help="training rows (JSON lines)")
    parser.add_argument("--heldout", type=Path, help="rows to measure on, never trained on")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the run: checkpoints, log, adapter"
    )
    parser.add_argument(
        "--reset-token", default="[RESET]", help="text of the reset token (default: %(default)s)"
    )
    parser.add_argument("--steps", type=positive, default=300, help="optimizer steps (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=4e-4, help="peak learning rate (default: %(default)s)")
    parser.add_argument(
        "--row-rate", type=float, default=4e-4, help="that of the reset row (default: %(default)s)"
    )
    parser.add_argument(
        "--rank", type=positive, default=16, help="rank of the LoRA adapter (default: %(default)s)"
    )
    parser.add_argument(
        "--batch-tokens", type=positive, default=4608, help="padded tokens a step (default: %(default)s)"
    )
    parser.add_argument(
        "--pieces",
        type=int,
        default=3,
        help="parts a step is computed in, to save memory (default: %(default)s)",
    )
    parser.add_argument(
        "--max-length", type=positive, default=512, help="tokens a sequence (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's)")
    parser.add_argument(
        "--every",
        type=positive,
        default=25,
        help="steps between looks at the held-out rows (default: %(default)s)",
    )
    parser.add_argument(
        "--after-reset", choices=["rewind", "keep"], default="rewind", help="what the record says"
    )
    for name, default in (("keep", 0.3), ("rewind", 0.5), ("direct", 0.3), ("needless", 0.3)):
        parser.add_argument(f"--share-{name}", type=float, default=default, metavar="S", help=FORMS[name])
    for name, default in (
        ("reset", 1.0),
        ("forbid", 0.3),
        ("words", 1.0),
        ("direct", 0.25),
        ("keep-model", 2.0),
    ):
        parser.add_argument(f"--weight-{name}", type=float, default=default, metavar="W", help=TERMS[name])


NEEDED = ("torch", "transformers", "peft", "accelerate", "safetensors")
FORMS = {
    "keep": "share of safety rows shown as the paper's P d R y (default: %(default)s)",
    "rewind": "share shown as P R y (default: %(default)s)",
    "direct": "share shown as P y, the paper's second term (default: %(default)s)",
    "needless": "share of benign rows shown as P R y (default: %(default)s)",
}
TERMS = {
    "reset": "the reset inside unsafe drafts (default: %(default)s)",
    "forbid": "no reset elsewhere, summed over a reply (default: %(default)s)",
    "words": "the words of safe replies (default: %(default)s)",
    "direct": "those of the second term, relative to them (default: %(default)s)",
    "keep-model": "divergence from the base on benign replies (default: %(default)s)",
}


def _run_sft(args: argparse.Namespace) -> int:
    from assistant.models.bundled import base_model
    from train.encode import Shares
    from train.objective import LossWeights
    from train.sft import SftSettings, train

    settings = SftSettings(
        base=args.base or base_model(),
        shares=Shares(args.share_keep, args.share_rewind, args.share_direct, args.share_needless),
        weights=LossWeights(
            args.weight_reset,
            args.weight_forbid,
            args.weight_words,
            args.weight_direct,
            args.weight_keep_model,
        ),
        **{name: getattr(args, name) for name in SFT_FIELDS},
    )
    train(settings, _tell)
    return 0


SFT_FIELDS = (
    "data", "out", "heldout", "reset_token", "steps", "rate", "row_rate", "rank", "batch_tokens", "pieces",
    "max_length", "seed", "threads", "every", "after_reset",
)  # fmt: skip


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


def _calibrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="the converted GGUF file")
    parser.add_argument(
        "--record", type=Path, required=True, help="the backtrack.json to write the values into"
    )
    parser.add_argument(
        "--heldout", type=Path, required=True, help="held-out rows (from `takeback train data`)"
    )
    parser.add_argument(
        "--budget", type=_share, default=0.01, help="share of needless resets (default: %(default)s)"
    )
    parser.add_argument(
        "--shown", type=_share, default=0.05, help="share of drafts ever shown (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=None)


def _run_calibrate(args: argparse.Namespace) -> int:
    from train.calibrate import calibrate

    calibrate(args.model, args.record, args.heldout, args.budget, args.shown, args.threads, _tell)
    return 0


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"is a share from 0 to below 1, not {value}")
    return value


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
