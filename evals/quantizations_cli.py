"""`takeback evaluate --quantizations`: its arguments, and what of them goes together."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from assistant.usage import UsageError, share

_BUDGET = 0.01
_ABOUT = """\
Makes MODEL, which may be a checkpoint's folder here, in each of these types, with the reset token's rows protected
and without, and reads held-out rows in each: size, what becomes of the reset token, and what is taken back. No
prompts are asked. Tables go into DIR/quantizations.md and .json, and with --plot a picture into .svg; what was
measured is kept in DIR/quantizations.jsonl, so end it when you like, and the same command goes on.
"""
_NOT_WITH = (
    *("prompts", "harmful", "harmless", "base", "benign", "only", "modes", "sheet", "labels", "labels_out"),
    *("guard", "curve", "best_of"),
)


def add_arguments_quantizations(parser: argparse.ArgumentParser) -> None:
    """The arguments that only this measurement has."""
    group = parser.add_argument_group("what quantization does to the reset token", _ABOUT)
    group.add_argument("--quantizations", metavar="TYPE,...", help="such as q8_0,q6_k,q5_k_m,q4_k_m")
    group.add_argument(
        "--heldout",
        type=Path,
        metavar="FILE",
        help="unsafe drafts and harmless replies, as calibrate takes them",
    )
    group.add_argument("--adapter", type=Path, metavar="DIR", help="an adapter to merge into MODEL")
    group.add_argument(
        "--budget",
        type=share,
        metavar="S",
        help=f"share of harmless replies that a bias chosen again may take back; default {_BUDGET:g}",
    )


def check_quantizations(args: argparse.Namespace) -> None:
    """Raise UsageError where the arguments do not go together."""
    if args.quantizations is None:
        for name in ("heldout", "adapter", "budget"):
            if getattr(args, name) is not None:
                raise UsageError(f"--{name} belongs to --quantizations")
        return
    if not args.heldout:
        raise UsageError("--quantizations needs held-out rows: give their file with --heldout")
    for name in _NOT_WITH:
        if getattr(args, name):
            raise UsageError(
                f"--quantizations asks no prompts, so --{name.replace('_', '-')} does not go with it"
            )
    if args.judge != "none":
        raise UsageError("--quantizations asks no prompts, so --judge does not go with it")


def chosen_types(text: str) -> tuple[str, ...]:
    """The types, in the order named, each once."""
    from convert.quantize import FILE_TYPES, NEED_IMPORTANCE

    named = [word.strip().lower() for word in text.split(",")]
    for name in named:
        if name in NEED_IMPORTANCE:
            raise UsageError(
                f"--quantizations: {name} needs measured importances of the weights; take another"
            )
        if name not in FILE_TYPES:
            raise UsageError(f"--quantizations: no type '{name}'; there is {', '.join(FILE_TYPES)}")
    return tuple(dict.fromkeys(named))


def run_quantizations(args: argparse.Namespace) -> int:
    """Measure, print the tables, and write them and perhaps a picture.

    Raises:
        TakebackError: a file cannot be read or written, or a type cannot be made.
        UsageError: a type is not known.
    """
    from assistant.models.library import resolve
    from convert.whole_file import write_text
    from evals.picture import as_svg
    from evals.progress import ProgressLine
    from evals.quantizations import QuantizationPlan, measure_quantizations
    from evals.quantizations_report import as_json, as_markdown, compare, shares

    types = chosen_types(args.quantizations)
    budget = _BUDGET if args.budget is None else args.budget
    progress = ProgressLine()
    try:
        folder = args.model and Path(args.model).expanduser()
        source = folder if folder and folder.is_dir() else resolve(args.model, progress)
        plan = QuantizationPlan(
            source, types, args.heldout, args.out, args.adapter, budget, args.limit, args.threads
        )
        rows = compare(measure_quantizations(plan, progress), budget)
    finally:
        progress.finish()
    text = as_markdown(rows, plan)
    write_text(plan.out / "quantizations.md", text)
    figures = json.dumps(as_json(rows, plan), indent=2, ensure_ascii=False)
    write_text(plan.out / "quantizations.json", figures + "\n")
    if args.plot:
        write_text(plan.out / "quantizations.svg", as_svg(shares(rows)))
    sys.stdout.write(text)
    return 0
