"""What an evaluation is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evals.cases import PARTS
from evals.sets import Prompt, read_benign, read_set


@dataclass(frozen=True)
class Plan:
    """What to evaluate, on what, and where its files go. `benign`: harmless prompts never trained on."""

    model: Path
    base: Path
    prompts: Path
    out: Path
    benign: Path | None = None
    parts: tuple[str, ...] = tuple(PARTS)
    limit: int | None = None
    threads: int | None = None
    seed: int = 0


def read_prompts(plan: Plan) -> dict[str, list[Prompt]]:
    """All prompts that the plan's parts need, by set; `benign` is empty where no file of them is given.

    Raises:
        TakebackError: a file is missing or damaged.
    """
    names = dict.fromkeys(name for part in plan.parts for name in PARTS[part])
    found = {name: read_set(name, plan.prompts, plan.limit) for name in names}
    found["benign"] = read_benign(plan.benign, plan.limit) if plan.benign else []
    return found
