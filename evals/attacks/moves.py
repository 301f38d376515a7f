"""One attack on one prompt, on one side: what is searched, and how the model is asked with it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from assistant.engine.session import Session
from evals.answers import Answer, ask
from evals.attacks.autodan import breed
from evals.attacks.cast import Cast
from evals.attacks.cost import Cost
from evals.attacks.drafts import cut
from evals.attacks.plan import LENGTHS, REPLY, WHITEBOX, Plan, Side
from evals.attacks.pursuit import Attempt, Step, pursue
from evals.attacks.suffix import open_slots, prompt_ids, typed, usable
from evals.cases import Case
from evals.sets import Prompt


@dataclass(frozen=True)
class Move:
    """An attack by its name, the side it is made on, its prompt, and a harmful reply's beginning, "" without one."""

    name: str
    side: Side
    prompt: Prompt
    draft: str

    @property
    def searches(self) -> bool:
        """Whether it searches, and so has limits."""
        return self.name in ("gcg", "autodan", "adaptive")


def make(move: Move, cast: Cast, plan: Plan) -> Attempt:
    """Make the attack.

    Raises:
        TakebackError: a model cannot be loaded, or fails.
    """
    session = cast.session(cast.path(move.side))
    if move.name in WHITEBOX:
        cast.weights(cast.path(move.side))  # loading is no part of what an attack costs
    cost = Cost()

    def reply(text: str, prefill: str = "") -> Answer:
        case = Case(move.name, move.prompt.number, cast.mode(move.side), text, prefill, REPLY)
        answer = ask(session, case, plan.seed % (1 << 32))
        read = len(prompt_ids(session, text)) + len(session.vocabulary.tokenize(prefill))
        cost.reply(answer, read)
        return answer

    if move.searches:
        return pursue(_search(move, session, cast, plan, cost), plan.limits, cost, reply)
    length = int(move.name.partition("_")[2] or 0)
    answer = reply(move.prompt.text, cut(session.vocabulary, move.draft, length) if length else "")
    return Attempt(answer, 0, None, None, cost.forwards, cost.tokens, cost.seconds, out_of_time=False)


def _search(move: Move, session: Session, cast: Cast, plan: Plan, cost: Cost) -> Iterator[Step]:
    if move.name == "autodan":
        return breed(session, move.prompt, plan.limits.width, plan.seed, cost)
    from evals.attacks.whitebox.gcg import search  # noqa: PLC0415 (only gradients need torch)
    from evals.attacks.whitebox.goal import Goal  # noqa: PLC0415

    slots = open_slots(session, move.prompt.text)
    target = session.template.content(move.prompt.target, slots.ids(slots.first))
    contract = session.info.contract
    adaptive = move.name == "adaptive"
    goal = Goal(
        reply=tuple(_watched(move, session, target) if adaptive else target),
        wanted=len(target),
        reset=contract.token_id if contract else None,
        bias=contract.reset_bias if contract else 0.0,
        banned=cast.mode(move.side) == "off",
        push=plan.limits.push if adaptive else 0.0,
    )
    return search(
        cast.weights(cast.path(move.side)),
        slots,
        goal,
        usable(session),
        lambda suffix: typed(session, slots, suffix),
        plan.limits,
        zlib.crc32(f"{plan.seed} {move.prompt.number}".encode()),
        cost,
    )


def _watched(move: Move, session: Session, target: list[int]) -> list[int]:
    """What the reset is to be silent over: the target, and what the base wrote after it, 40 tokens in all."""
    rest = session.template.content(move.draft.removeprefix(move.prompt.target), target)
    return [*target, *rest[: max(0, max(LENGTHS) - len(target))]]
