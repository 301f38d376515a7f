"""When a run ends early: what the looks at the held-out rows have shown so far. Imports nothing of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Looks:
    """The best look's share of drafts caught and its step (0: none yet), the looks since, and why the run ended."""

    best: float = -1.0
    best_step: int = 0
    since: int = 0
    ended: str = ""


def look(looks: Looks, step: int, figures: Mapping[str, float], patience: int, limit: float) -> Looks:
    """What is known after one more look.

    A look is better where more drafts are caught at the needless budget. The run ends after `patience` looks that
    were no better, or at once where the reset's mean probability in benign replies is above `limit`.
    """
    benign, caught = figures["p_reset_benign"], figures["caught"]
    if not benign <= limit:
        return replace(
            looks, ended=f"the reset's probability in benign replies is {benign:.3g}, above {limit:g}"
        )
    if caught > looks.best:
        return Looks(caught, step)
    since = looks.since + 1
    why = (
        f"no more drafts caught than at step {looks.best_step} for {since} looks" if since >= patience else ""
    )
    return replace(looks, since=since, ended=why)
