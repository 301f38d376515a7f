"""`takeback evaluate` and `takeback bench`: parse, call, print."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from assistant.usage import UsageError, positive
from convert.progress import Progress
from evals.evaluate_choices import chosen_curve, chosen_modes, chosen_parts, own_files
from evals.evaluate_cli import add_arguments_evaluate, check_evaluate
from evals.plan import Plan
from evals.quantizations_cli import run_quantizations

__all__ = ["add_arguments_bench", "add_arguments_evaluate", "run_bench", "run_evaluate"]


def run_evaluate(args: argparse.Namespace) -> int:
    """Evaluate a model, print the tables, and write them and perhaps a sheet, labels and a picture.

    Raises:
        TakebackError: a file cannot be read or written, or a model fails.
        UsageError: the arguments do not go together.
    """
    from convert.whole_file import write_text
    from evals.evaluate import evaluate
    from evals.labels_file import label_rows, write_labels
    from evals.picture import as_svg
    from evals.progress import ProgressLine
    from evals.report import as_json, as_markdown, make_report
    from evals.sheet import read_labels, rows, write_sheet

    check_evaluate(args)
    if args.quantizations is not None:
        return run_quantizations(args)
    progress = ProgressLine()
    plan = _plan(args, progress)
    try:
        outcome = evaluate(plan, progress)
    finally:
        progress.finish()
    readers = [read_labels(file, plan.out, outcome.answers) for file in args.labels]
    report = make_report(outcome, plan, readers)
    text = as_markdown(report)
    write_text(plan.out / "report.md", text)
    write_text(plan.out / "report.json", json.dumps(as_json(report), indent=2, ensure_ascii=False) + "\n")
    if args.plot:
        write_text(plan.out / "report.svg", as_svg(report.measures))
    if args.labels_out:
        write_labels(args.labels_out, label_rows(outcome.answers, readers, plan.seed))
    sys.stdout.write(text)
    if args.sheet:
        sheet, key = write_sheet(rows(outcome.answers, plan.seed), plan.out)
        print(f"takeback: label {sheet}; do not look into {key} before", file=sys.stderr)
    return 0


def _plan(args: argparse.Namespace, progress: Progress) -> Plan:
    """What is to be done. All that can be wrong in the arguments is found before a model is looked for."""
    from assistant.models.bundled import base_model
    from assistant.models.library import resolve
    from evals.judges.guard import check_guard

    parts = chosen_parts(args.only, args.benign) if args.prompts else ()
    modes, own = chosen_modes(args.modes), own_files(args.harmful, args.harmless)
    curve = chosen_curve(args.curve, args.best_of)
    if args.guard:
        check_guard(args.guard)
    return Plan(
        model=resolve(args.model, progress),
        base=resolve(args.base, progress) if args.base else base_model(),
        prompts=args.prompts or Path(),
        out=args.out,
        benign=args.benign,
        parts=parts,
        limit=args.limit,
        threads=args.threads,
        seed=args.seed,
        modes=modes,
        own=own,
        judge=args.judge,
        guard=args.guard,
        curve=curve,
    )


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
        "--only",
        metavar="NAME,...",
        help="only these measurements; see their names with --list; convert, of 2 GiB on disk, is made only so",
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
    usual = [name for name in known if name not in bench.APART]
    names = [name.strip() for name in args.only.split(",")] if args.only else usual
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"--only: no measurement '{unknown[0]}'; there is {', '.join(known)}")
    progress = ProgressLine()
    try:
        model = None if bench.WITHOUT_MODEL.issuperset(names) else resolve(args.model, progress)
        found = bench.measure(names, model, args.threads, progress)
    finally:
        progress.finish()
    print(
        json.dumps(found, indent=2) if args.json else bench.as_markdown(found), end="\n" if args.json else ""
    )
    return 0
