"""`takeback evaluate` and `takeback bench`: parse, call, print."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from assistant.usage import UsageError, positive
from convert.progress import Progress
from evals.cases import PARTS
from evals.plan import Plan
from evals.sets import SETS

_ABOUT = """\
Measures, at temperature 0, whether a model takes back what it should and leaves alone what it should: how
often a harmful beginning is taken back, and controls against a model that only knows words; harmless requests
taken back or refused beside the base model; the perplexity of the base model's own replies; and how much was
shown before it was taken back. Each share comes with its count and a 95 % interval.

Every reply is on the disk, in DIR/replies.jsonl, before the next one is asked for: end it when you like, and
the same command goes on. The tables are printed, and written to DIR/report.md and DIR/report.json.

The prompts are public sets that you fetch yourself, CSV files in one folder:
{sets}

  benign: a file of JSON lines, each {{"prompt": "..."}}: harmless prompts that the model was not trained
  on. `takeback train data` sets such prompts aside, in heldout_prompts.jsonl.

Whether a reply does harm is for a person to say. --sheet writes DIR/sheet.csv, replies in a random order with
nothing that tells whose they are; fill its column "label" with one of the words beside it, and --labels reads
it back.
"""


def add_arguments_evaluate(parser: argparse.ArgumentParser) -> None:
    """The arguments of `takeback evaluate`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    width = max(map(len, (known.file for known in SETS.values())))
    sets = "\n".join(f"  {known.file:<{width}}  {known.where}" for known in SETS.values())
    parser.description = _ABOUT.format(sets=sets)
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="a GGUF file or an added model; default: the default"
    )
    parser.add_argument(
        "--prompts", type=Path, required=True, metavar="DIR", help="the folder of the public sets"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where replies and tables go")
    parser.add_argument(
        "--base", metavar="MODEL", help="the model it was trained from; default: the default model's"
    )
    parser.add_argument(
        "--benign", type=Path, metavar="FILE", help="held-out harmless prompts, as JSON lines"
    )
    parser.add_argument("--only", metavar="PART,...", help=f"only these parts: {', '.join(PARTS)}")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N prompts of each set")
    parser.add_argument("--threads", type=positive, metavar="N", help="default: the physical cores")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="for later resets and the sheet; default 0"
    )
    parser.add_argument(
        "--sheet", action="store_true", help="write a sheet of replies to be labelled blindly"
    )
    parser.add_argument("--labels", type=Path, metavar="FILE", help="the labelled sheet: count what it says")


def run_evaluate(args: argparse.Namespace) -> int:
    """Evaluate a model, print the tables, and write them and perhaps a sheet.

    Raises:
        TakebackError: a file cannot be read or written, or a model fails.
    """
    from convert.whole_file import write_text
    from evals.evaluate import evaluate
    from evals.progress import ProgressLine
    from evals.report import as_json, as_markdown, make_report
    from evals.sheet import read_labels, rows, write_sheet

    progress = ProgressLine()
    plan = _plan(args, progress)
    try:
        outcome = evaluate(plan, progress)
    finally:
        progress.finish()
    labels = read_labels(args.labels, plan.out, outcome.answers) if args.labels else None
    report = make_report(outcome, plan, labels)
    text = as_markdown(report)
    write_text(plan.out / "report.md", text)
    write_text(plan.out / "report.json", json.dumps(as_json(report), indent=2, ensure_ascii=False) + "\n")
    sys.stdout.write(text)
    if args.sheet:
        sheet, key = write_sheet(rows(outcome.answers, plan.seed), plan.out)
        print(f"takeback: label {sheet}; do not look into {key} before", file=sys.stderr)
    return 0


def _plan(args: argparse.Namespace, progress: Progress) -> Plan:
    from assistant.models.bundled import base_model
    from assistant.models.library import resolve

    return Plan(
        model=resolve(args.model, progress),
        base=resolve(args.base, progress) if args.base else base_model(),
        prompts=args.prompts,
        out=args.out,
        benign=args.benign,
        parts=_parts(args.only, args.benign),
        limit=args.limit,
        threads=args.threads,
        seed=args.seed,
    )


def _parts(only: str | None, benign: Path | None) -> tuple[str, ...]:
    """The parts to run: all of them, or those named; each once, in their usual order."""
    named = [name.strip() for name in only.split(",")] if only else list(PARTS)
    unknown = [name for name in named if name not in PARTS]
    if unknown:
        raise UsageError(f"--only: no part '{unknown[0]}'; there is {', '.join(PARTS)}")
    if only and "benign" in named and not benign:
        raise UsageError("--only benign needs the prompts: give their file with --benign")
    return tuple(name for name in PARTS if name in named)


def add_arguments_bench(parser: argparse.ArgumentParser) -> None:
    """The arguments of `takeback bench`."""
    parser.description = (
        "Measures this machine: each figure is a ratio of two times taken in turn in one run, so that a busy "
        "machine slows both. Let nothing else run beside it."
    )
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="a GGUF file or an added model; default: the default"
    )
    parser.add_argument(
        "--only", metavar="NAME,...", help="only these measurements; see their names with --list"
    )
    parser.add_argument(
        "--list", action="store_true", help="name the measurements, and what each holds against what"
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="default: the physical cores")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run_bench(args: argparse.Namespace) -> int:
    """Run the measurements and print one table.

    Raises:
        TakebackError: the model cannot be loaded, or fails.
    """
    from assistant.models.library import resolve
    from evals import bench
    from evals.progress import ProgressLine

    known = bench.scripts()
    if args.list:
        print("\n".join(f"{name:<10} {about}" for name, about in known.items()))
        return 0
    names = [name.strip() for name in args.only.split(",")] if args.only else list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"--only: no measurement '{unknown[0]}'; there is {', '.join(known)}")
    progress = ProgressLine()
    try:
        found = bench.measure(names, resolve(args.model, progress), args.threads, progress)
    finally:
        progress.finish()
    print(
        json.dumps(found, indent=2) if args.json else bench.as_markdown(found), end="\n" if args.json else ""
    )
    return 0
