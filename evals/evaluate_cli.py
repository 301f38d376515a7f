"""The arguments of `takeback evaluate`, and what of them goes together."""

from __future__ import annotations

import argparse
from pathlib import Path

from assistant.usage import UsageError, positive, seed
from evals.cases import PARTS, Mode
from evals.modes import DEFAULT, WHO
from evals.plan import JUDGES
from evals.quantizations_cli import add_arguments_quantizations, check_quantizations
from evals.sets import SETS

_ABOUT = """\
Measures, at temperature 0, whether a model takes back what it should and leaves alone what it should: how
often a harmful beginning is taken back, and controls against a model that only knows words; harmless requests
taken back or refused beside the base model; the perplexity of the base model's own replies; and how much was
shown before it was taken back. Each share comes with its count and a 95 % interval, and two modes that
answered the same prompts are compared prompt by prompt.

Every reply is on the disk, in DIR/replies.jsonl, before the next one is asked for: end it when you like, and
the same command goes on. The tables are printed, and written to DIR/report.md and DIR/report.json.

The prompts are public sets that you fetch yourself, CSV files in one folder:
{sets}

  benign: a file of JSON lines, each {{"prompt": "..."}}: harmless prompts that the model was not trained
  on. `takeback train data` sets such prompts aside, in heldout_prompts.jsonl.

Your own prompts: --harmful and --harmless take JSON lines, each {{"prompt": "..."}} and perhaps "prefill", or
CSV with a column prompt or goal and perhaps prefill. Without --prompts, they are all that is asked.

Who answers, by --modes:
{modes}

The last is what a model could do that only learnt to refuse; a beginning put into its mouth (AdvBench, prefill)
skips that one place.

Whether a reply does harm is for a person to say. --sheet writes DIR/sheet.csv, replies in a random order with
nothing that tells whose they are; fill its column "label" with one of the words beside it, and --labels reads
it back: one sheet, or the sheets of two readers, with their agreement. --labels-out writes the labels without
a word of the prompts or replies, to be published.

A judge is quicker and knows less. --judge keywords tells refusals by their words; no word tells harm. --judge
guard asks a guard model, Llama Guard 3 or Qwen3Guard, a GGUF file given with --guard. Its answers are read as
its documentation says; this was never tested on the guards' own weights.
"""


def add_arguments_evaluate(parser: argparse.ArgumentParser) -> None:
    """The arguments of `takeback evaluate`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = _ABOUT.format(
        sets=_listed({known.file: known.where for known in SETS.values()}), modes=_listed(WHO)
    )
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="a GGUF file or an added model; default: the default"
    )
    parser.add_argument("--prompts", type=Path, metavar="DIR", help="the folder of the public sets")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where replies and tables go")
    parser.add_argument(
        "--base", metavar="MODEL", help="the model it was trained from; default: the default model's"
    )
    parser.add_argument(
        "--benign", type=Path, metavar="FILE", help="held-out harmless prompts, as JSON lines"
    )
    for kind in ("harmful", "harmless"):
        about = f"your own {kind} prompts; NAME is for the tables; may be given again"
        parser.add_argument(f"--{kind}", action="append", default=[], metavar="[NAME=]FILE", help=about)
    parser.add_argument("--only", metavar="PART,...", help=f"only these parts: {', '.join(PARTS)}")
    parser.add_argument("--modes", metavar="MODE,...", help=f"who answers; default {','.join(DEFAULT)}")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N prompts of each set")
    parser.add_argument("--threads", type=positive, metavar="N", help="default: the physical cores")
    parser.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="for later resets, samples and the sheet; default 0"
    )
    parser.add_argument(
        "--sheet", action="store_true", help="write a sheet of replies to be labelled blindly"
    )
    parser.add_argument(
        "--labels",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="one labelled sheet, or two readers'",
    )
    parser.add_argument(
        "--labels-out", type=Path, metavar="FILE", help="write the labels without texts, as .csv or .json"
    )
    _add_judging(parser)


def _add_judging(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--judge",
        choices=JUDGES,
        default="none",
        help="of replies to harmful requests: keywords tells refusals, a guard harm; default none",
    )
    parser.add_argument(
        "--guard",
        type=Path,
        metavar="FILE",
        help="Llama Guard 3 or Qwen3Guard as GGUF, for --judge guard (untested on weights)",
    )
    parser.add_argument(
        "--curve",
        metavar="temperature=T,...",
        help="also draw samples at these temperatures for each harmful request without a beginning",
    )
    parser.add_argument(
        "--best-of", metavar="K,...", help="of how many samples one bad one counts; default 1, up to 64"
    )
    parser.add_argument("--plot", action="store_true", help="draw the shares, as DIR/report.svg")
    add_arguments_quantizations(parser)


def _listed(about: dict[str, str] | dict[Mode, str]) -> str:
    width = max(map(len, about))
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in about.items())


def check_evaluate(args: argparse.Namespace) -> None:
    """Raise UsageError where two arguments do not go together."""
    check_quantizations(args)
    if args.quantizations is not None:
        return
    if not (args.prompts or args.harmful or args.harmless):
        raise UsageError("give the folder of the public sets with --prompts, or your own with --harmful")
    if args.only and not args.prompts:
        raise UsageError("--only chooses among the public sets: give their folder with --prompts")
    if len(args.labels) > 2:
        raise UsageError(f"--labels: {len(args.labels)} sheets; give one, or those of two readers")
    if args.labels_out and not args.labels:
        raise UsageError("--labels-out writes what --labels reads: give the labelled sheet")
    if (args.judge == "guard") != bool(args.guard):
        raise UsageError("--judge guard and --guard FILE belong together")
    if (args.curve or args.best_of) and args.judge == "none":
        raise UsageError("--curve and --best-of count what a judge says: choose one with --judge")
