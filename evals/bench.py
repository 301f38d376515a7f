"""The scripts of evals/speed/, run one after the other, and their figures in one table.

Each script has `measure(model, *, threads=None)`, which returns a dictionary with `ratio`, `target`, the
figures that the ratio comes from, and perhaps `rows`, a list of such figures. One in `WITHOUT_MODEL` needs none.
"""

from __future__ import annotations

import ast
import pkgutil
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from convert.progress import Progress, silent
from evals import speed

APART = frozenset({"convert"})
"""Measurements that write gigabytes: they are made only where they are asked for by name."""

WITHOUT_MODEL = APART | {"help", "pauses"}
"""Measurements that need no model."""


def scripts() -> dict[str, str]:
    """The measurements by name, each with what it holds against what. None of them is loaded for that."""
    found = {}
    for module in pkgutil.iter_modules(speed.__path__):
        source = Path(speed.__path__[0], f"{module.name}.py").read_text(encoding="utf-8")
        lines = (ast.get_docstring(ast.parse(source)) or "").splitlines()
        found[module.name] = lines[0].rstrip(".") if lines else ""
    return found


def measure(
    names: Iterable[str], model: Path | None, threads: int | None, progress: Progress = silent
) -> dict[str, dict[str, Any]]:
    """What each of these measurements found, by name, and under `about` what it holds against what.

    `model` is None where all are in `WITHOUT_MODEL`.

    Raises:
        TakebackError: the model cannot be loaded, or fails.
    """
    chosen, about = list(names), scripts()
    found: dict[str, dict[str, Any]] = {}
    for done, name in enumerate(chosen):
        progress(f"measuring {name}", done, len(chosen))
        figures = import_module(f"{speed.__name__}.{name}").measure(model, threads=threads)
        found[name] = {"about": about[name], **figures}
    return found


def as_markdown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """One table of all figures: a line for each measurement, and one for each of its rows."""
    about = scripts()
    lines = ["| figure | ratio | target | measured |", "|---|--:|---|---|"]
    for name, figures in found.items():
        target = str(figures.get("target", "")).replace("<=", "≤").replace(">=", "≥")
        measured = _figures(figures)
        lines.append(f"| {about[name]} | {figures['ratio']} | {target} | {measured} |")
        lines += [f"| | {row.get('ratio', '')} | | {_figures(row)} |" for row in figures.get("rows", ())]
    return "\n".join(lines) + "\n"


def _figures(figures: Mapping[str, Any]) -> str:
    shown = (
        (name, value) for name, value in figures.items() if name not in ("about", "ratio", "target", "rows")
    )
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown)
