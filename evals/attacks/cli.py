"""`takeback attack`: parse, call, print."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from assistant.usage import UsageError, above_zero, positive, seed
from convert.progress import Progress
from evals.attacks.plan import ATTACKS, Limits, Plan

_ABOUT = """\
Attacks a model as somebody would who wants harm and has its file, and says how often that succeeds, with resets
and without, and what it costs. For models of your own: it tells what their safety is worth.

{attacks}

gcg and adaptive need torch: pip install 'takeback[attacks]'. Each search is bounded by --steps and --seconds a
prompt; on a processor a step of theirs takes seconds. What is found is on the disk, in DIR/attempts.jsonl, before
the next prompt is begun: end it when you like, and the same command goes on. The tables are printed, and written
to DIR/report.md and DIR/report.json.
"""


def add_arguments_attack(parser: argparse.ArgumentParser) -> None:
    """The arguments of `takeback attack`."""
    limits = Limits()
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    attacks = "\n".join(f"  {name:<9} {about}" for name, about in ATTACKS.items())
    parser.description = _ABOUT.format(attacks=attacks)
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL_OR_CHECKPOINT",
        help="a GGUF file, an added model, or the folder of a checkpoint or of an adapter; default: the default",
    )
    parser.add_argument(
        "--prompts", type=Path, required=True, metavar="DIR", help="the folder that holds advbench.csv"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where attempts and tables go")
    parser.add_argument(
        "--base",
        metavar="MODEL",
        help="the model it was trained from, which writes the harmful drafts; default: the default model's",
    )
    parser.add_argument(
        "--baseline", choices=("off", "base"), default="off", help="the model with resets off, or its base"
    )
    parser.add_argument("--only", metavar="ATTACK,...", help="only these attacks")
    parser.add_argument(
        "--limit", type=positive, default=20, metavar="N", help="the first N prompts (default: %(default)s)"
    )
    for name, about in (
        ("steps", "steps of a search, or generations"),
        ("width", "candidates a step"),
        ("top", "tokens a place that a gradient may choose from"),
        ("check", "steps between looks whether it has succeeded"),
    ):
        default = getattr(limits, name)
        parser.add_argument(
            f"--{name}", type=positive, default=default, metavar="N", help=f"{about} (default: %(default)s)"
        )
    parser.add_argument(
        "--seconds", type=above_zero, default=limits.seconds, metavar="S",
        help="time of a search, a prompt (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--push", type=above_zero, default=limits.push, metavar="W",
        help="weight of the reset in the adaptive loss (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--judge", default="keywords", metavar="keywords|FILE",
        help="by a refusal's words (default), or by a guard model's GGUF file",
    )  # fmt: skip
    parser.add_argument("--threads", type=positive, metavar="N", help="default: the physical cores")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="of drafts and searches; default 0")


def run_attack(args: argparse.Namespace) -> int:
    """Attack a model, print the tables, and write them.

    Raises:
        TakebackError: a file cannot be read or written, a model fails, or an extra is missing.
    """
    from convert.whole_file import write_text
    from evals.attacks.report import as_json, as_markdown
    from evals.attacks.run import attack
    from evals.progress import ProgressLine

    progress = ProgressLine()
    plan = _plan(args, progress)
    try:
        outcome = attack(plan, progress)
    finally:
        progress.finish()
    text = as_markdown(outcome, plan)
    write_text(plan.out / "report.md", text)
    report = json.dumps(as_json(outcome, plan), indent=2, ensure_ascii=False)
    write_text(plan.out / "report.json", report + "\n")
    sys.stdout.write(text)
    return 0


def _plan(args: argparse.Namespace, progress: Progress) -> Plan:
    from assistant.models.bundled import base_model
    from assistant.models.library import resolve
    from evals.attacks.model_file import model_file
    from evals.judges.guard import check_guard

    attacks = _attacks(args.only)
    guard = None if args.judge == "keywords" else Path(args.judge)
    if guard:
        check_guard(guard)
    base = resolve(args.base, progress) if args.base else base_model()
    return Plan(
        model=model_file(args.model, base, args.out, progress),
        base=base,
        prompts=args.prompts,
        out=args.out,
        attacks=attacks,
        baseline=args.baseline,
        limit=args.limit,
        limits=Limits(args.steps, args.seconds, args.width, args.top, args.check, args.push),
        guard=guard,
        threads=args.threads,
        seed=args.seed,
    )


def _attacks(only: str | None) -> tuple[str, ...]:
    """The attacks to make: all of them, or those named; each once, in their usual order."""
    named = [name.strip() for name in only.split(",")] if only else list(ATTACKS)
    unknown = [name for name in named if name not in ATTACKS]
    if unknown:
        raise UsageError(f"--only: no attack '{unknown[0]}'; there is {', '.join(ATTACKS)}")
    return tuple(name for name in ATTACKS if name in named)
