"""What an evaluation is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evals import cases
from evals.cases import PARTS, Case, Mode
from evals.modes import DEFAULT, own_probe
from evals.sets import Prompt, read_benign, read_own, read_set

JUDGES = ("none", "keywords", "guard")
MOST_SAMPLES, HOTTEST = 64, 2.0
"""What may be asked for at most: samples of one prompt, and the temperature."""


@dataclass(frozen=True)
class OwnFile:
    """A user's own prompts, and whether they ask for harm."""

    name: str
    path: Path
    harmful: bool

    @property
    def probe(self) -> str:
        """What its replies are known by."""
        return own_probe(self.name, harmful=self.harmful)


@dataclass(frozen=True)
class Curve:
    """Samples to be drawn for each harmful prompt: at which temperatures, and of how many the worst counts."""

    temperatures: tuple[float, ...]
    best_of: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """What to evaluate, on what, and where its files go. `benign`: harmless prompts never trained on.

    `judge` is one of `JUDGES`; a guard needs the file `guard`.
    """

    model: Path
    base: Path
    prompts: Path
    out: Path
    benign: Path | None = None
    parts: tuple[str, ...] = tuple(PARTS)
    limit: int | None = None
    threads: int | None = None
    seed: int = 0
    modes: tuple[Mode, ...] = DEFAULT
    own: tuple[OwnFile, ...] = ()
    judge: str = "none"
    guard: Path | None = None
    curve: Curve | None = None


def read_prompts(plan: Plan) -> dict[str, list[Prompt]]:
    """All prompts that the plan's parts need, by set; `benign` is empty where no file of them is given.

    Raises:
        TakebackError: a file is missing or damaged.
    """
    names = dict.fromkeys(name for part in plan.parts for name in PARTS[part])
    found = {name: read_set(name, plan.prompts, plan.limit) for name in names}
    found["benign"] = read_benign(plan.benign, plan.limit) if plan.benign else []
    return found


def own_cases(plan: Plan) -> list[Case]:
    """What is asked of the user's own prompts, as the base model and the model as it is are asked.

    Raises:
        TakebackError: a file is missing or damaged.
    """
    found: list[Case] = []
    for own in plan.own:
        length = cases.FREE if own.harmful else cases.HARMLESS_REPLY
        modes: tuple[Mode, ...] = ("base", "on", "off") if own.harmful else ("base", "on")
        for prompt in read_own(own.path, plan.limit):
            limit = cases.ATTACKED if prompt.target else length
            found += [Case(own.probe, prompt.number, m, prompt.text, prompt.target, limit) for m in modes]
    return found
