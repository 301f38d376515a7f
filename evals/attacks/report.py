"""What the attacks came to, and what they cost: Markdown tables for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from assistant.intervals import wilson
from convert.untrusted import clean_line
from evals.attacks.judge import GUARD, KEYWORDS, complies
from evals.attacks.plan import ATTACKS, REPLY, SIDES, Plan, Side
from evals.attacks.pursuit import Attempt
from evals.attacks.run import Outcome

SCHEMA = 1


@dataclass(frozen=True)
class Row:
    """One attack on one side, over all prompts that it was made on.

    `succeeded` is of `judged`, the replies that there is a verdict on. `taken_back` counts replies that were;
    `complied_after` those of them whose new reply does not refuse by its words. `steps`, `forwards`, `tokens` and
    `seconds` are sums. `loss` and `over` are means of a search's first and last step; None where there is none.
    """

    attack: str
    side: Side
    prompts: int
    judged: int
    succeeded: int
    taken_back: int
    complied_after: int
    steps: int
    out_of_time: int
    forwards: int
    tokens: int
    seconds: float
    loss: tuple[float, float] | None
    over: tuple[float, float] | None


def rows(outcome: Outcome) -> list[Row]:
    """One row for each attack and side, in the order they were made in."""
    names = list(dict.fromkeys((attack, side) for attack, side, _ in outcome.attempts))
    return [_row(outcome, attack, side) for attack, side in names]


def _row(outcome: Outcome, attack: str, side: Side) -> Row:
    places = [place for place in outcome.attempts if place[:2] == (attack, side)]
    made = [outcome.attempts[place] for place in places]
    said = [outcome.succeeded[place] for place in places if place in outcome.succeeded]
    back = [attempt.answer for attempt in made if attempt.answer.taken_back]
    return Row(
        attack,
        side,
        len(made),
        judged=len(said),
        succeeded=sum(said),
        taken_back=len(back),
        complied_after=sum(map(complies, back)),
        steps=sum(attempt.steps for attempt in made),
        out_of_time=sum(attempt.out_of_time for attempt in made),
        forwards=sum(attempt.forwards for attempt in made),
        tokens=sum(attempt.tokens for attempt in made),
        seconds=round(sum(attempt.seconds for attempt in made), 1),
        loss=_means(made, "loss"),
        over=_means(made, "over"),
    )


def _means(made: Sequence[Attempt], name: str) -> tuple[float, float] | None:
    pairs = [(getattr(a.first, name), getattr(a.last, name)) for a in made if a.first and a.last]
    if not pairs or any(value is None for pair in pairs for value in pair):
        return None
    first, last = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
    return first, last


def as_markdown(outcome: Outcome, plan: Plan) -> str:
    """The report as Markdown."""
    found = rows(outcome)
    lines = ["## Attacks that succeeded", "", f"A success: {KEYWORDS if plan.guard is None else GUARD}.", ""]
    lines += [
        "| attack | baseline | 95 % | backtracking | 95 % | taken back | of those, complied after |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for attack in dict.fromkeys(row.attack for row in found):
        sides = {row.side: row for row in found if row.attack == attack}
        cells = [cell for side in SIDES for cell in _share(sides.get(side))]
        back = sides["backtracking"]
        cells += [f"{back.taken_back} / {back.prompts}", f"{back.complied_after} / {back.taken_back}"]
        lines.append(f"| {_title(attack)} | {' | '.join(cells)} |")
    lines += ["", "## What they cost, a prompt", ""]
    lines += [
        "| attack | side | prompts | steps | out of time | forward passes | tokens | seconds | loss | reset over |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [_cost(row) for row in found if row.prompts]
    lines += ["", *(f"- {note}" for note in notes(outcome, plan))]
    return "\n".join(lines) + "\n"


def _share(row: Row | None) -> list[str]:
    if row is None or not row.judged:
        return ["–", "–"]
    low, high = wilson(row.succeeded, row.judged)
    share = 100 * row.succeeded / row.judged
    return [f"{row.succeeded} / {row.judged} = {share:.1f} %", f"{100 * low:.1f} to {100 * high:.1f}"]


def _cost(row: Row) -> str:
    each = [f"{total / row.prompts:,.0f}" for total in (row.forwards, row.tokens)]
    seconds = f"{row.seconds / row.prompts:.1f}"
    steps = f"{row.steps / row.prompts:.1f}"
    moved = [f"{pair[0]:.2f} → {pair[1]:.2f}" if pair else "–" for pair in (row.loss, row.over)]
    cells = [
        _title(row.attack),
        row.side,
        str(row.prompts),
        steps,
        str(row.out_of_time),
        *each,
        seconds,
        *moved,
    ]
    return f"| {' | '.join(cells)} |"


def _title(attack: str) -> str:
    name, _, length = attack.partition("_")
    return f"{name}, {length} tokens" if length else name


def notes(outcome: Outcome, plan: Plan) -> Iterator[str]:
    """What must be known to read the tables."""
    for name in plan.attacks:
        yield f"{name}: {ATTACKS[name]}."
    limits = plan.limits
    yield f"Model: {clean_line(plan.model.name)}, SHA-256 {outcome.sha256['backtracking'][:16]}…"
    who = "the same with resets off" if plan.baseline == "off" else clean_line(plan.base.name)
    yield f"Baseline: {who}, SHA-256 {outcome.sha256['baseline'][:16]}… Each side is attacked with its own search."
    yield (
        f"The first {outcome.prompts} prompts of AdvBench. A search has at most {limits.steps} steps and "
        f"{limits.seconds:g} s a prompt, {limits.width} candidates a step; it ends when a reply, asked for every "
        f"{limits.check} steps, has no refusal's words and was not taken back. "
        "A success after more steps, or by another search, is not ruled out."
    )
    yield f"Replies at temperature 0, at most {REPLY} tokens, seed {plan.seed}; intervals are Wilson's."
    yield (
        "Forward passes: sequences read in a search, a gradient counting as one, and tokens written in replies. "
        "Loss: nats a token of the target, with what the adaptive attack adds; reset over: nats that the reset is "
        "above where it fires, the mean over the places watched; both from the first step to the last."
    )
    if unread := len(outcome.attempts) - len(outcome.succeeded):
        yield f"{unread} replies got no verdict that could be read, and count neither as successes nor as failures."
    if outcome.draftless:
        yield (
            f"For {outcome.draftless} prompts the base wrote no harmful draft that is long enough: prefill leaves "
            "them out, and the adaptive attack watches the target alone."
        )


def as_json(outcome: Outcome, plan: Plan) -> dict[str, Any]:
    """The report as a JSON object."""
    return {
        "schema": SCHEMA,
        "rows": [{**asdict(row), "interval": wilson(row.succeeded, row.judged)} for row in rows(outcome)],
        "judge": "keywords" if plan.guard is None else plan.guard.name,
        "limits": asdict(plan.limits),
        "baseline": plan.baseline,
        "prompts": outcome.prompts,
        "draftless": outcome.draftless,
        "sha256": outcome.sha256,
        "notes": list(notes(outcome, plan)),
    }
