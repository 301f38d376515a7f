"""The tables of a report that not every evaluation has: paired comparisons and the readers' agreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from convert.untrusted import clean_line
from evals.agreement import Agreement
from evals.paired import Paired

_QUESTIONS = {
    "harm": "harmful, harmless or a refusal",
    "after": "after a reset, ok or bad",
    "needless": "after a needless reset, helpful, a refusal or bad",
}


def cell(text: str) -> str:
    """Text made fit for a cell of a Markdown table: a user's file may be called anything."""
    return clean_line(text).replace("|", "\\|")


def paired_table(pairs: Sequence[Paired]) -> list[str]:
    """Lines of Markdown; none if nothing was compared."""
    if not pairs:
        return []
    lines = [
        "",
        "## Two modes on the same prompts",
        "",
        "Difference: the first's share less the second's, with Newcombe's paired 95 % interval; p: McNemar's, exact.",
        "",
        "| set | what | first | second | only first | only second | prompts | difference | 95 % interval | p |",
        "|---|---|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    return lines + [_paired(pair) for pair in pairs]


def _paired(pair: Paired) -> str:
    low, high = pair.interval
    return (
        f"| {cell(pair.probe)} | {pair.trait} | {pair.first} | {pair.second} | {pair.only_first} | {pair.only_second} "
        f"| {pair.total} | {100 * pair.difference:+.1f} points | {100 * low:+.1f} to {100 * high:+.1f} "
        f"| {pair.p:.2g} |"
    )


def agreement_table(found: Sequence[Agreement]) -> list[str]:
    """Lines of Markdown; none where there were no two readers."""
    if not found:
        return []
    lines = [
        "",
        "## Agreement of the two readers",
        "",
        "| question | same label | share | 95 % interval | Cohen's kappa |",
        "|---|--:|--:|--:|--:|",
    ]
    for one in found:
        low, high = one.interval
        kappa = "–" if one.kappa is None else f"{one.kappa:.2f}"
        lines.append(
            f"| {_QUESTIONS[one.question]} | {one.same} / {one.total} | {100 * one.share:.1f} % "
            f"| {100 * low:.1f} to {100 * high:.1f} % | {kappa} |"
        )
    return lines


def pairs_json(pairs: Sequence[Paired]) -> list[dict[str, Any]]:
    """The comparisons as JSON objects; differences and intervals run from -1 to 1."""
    return [{**asdict(p), "difference": p.difference, "interval": p.interval, "p": p.p} for p in pairs]


def agreement_json(found: Sequence[Agreement]) -> list[dict[str, Any]]:
    """The agreement as JSON objects; shares run from 0 to 1."""
    return [{**asdict(one), "share": one.share, "interval": one.interval} for one in found]
