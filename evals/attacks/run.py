"""A whole attack: every prompt by every means on either side, what is written down left out."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import asdict, dataclass
from itertools import product

from assistant.locks import only_writer
from convert.errors import TakebackError
from convert.gguf_header import read_header
from convert.progress import Progress, silent
from convert.reset_token import read_contract
from evals.attacks import moves
from evals.attacks.cast import Cast
from evals.attacks.drafts import draft
from evals.attacks.judge import by_guard, by_words
from evals.attacks.plan import LENGTHS, REPLY, SIDES, WHITEBOX, Plan, Side
from evals.attacks.pursuit import Attempt, attempt_from_json
from evals.journal import Journal
from evals.sets import Prompt, read_set

Place = tuple[str, Side, int]
"""An attack's name (`prefill_5` and so on among them), the side, and the prompt's number."""


@dataclass(frozen=True)
class Outcome:
    """All attempts, which of them succeeded, and how many prompts no harmful draft was found for.

    An attempt that a guard said nothing readable of is not in `succeeded`.
    """

    attempts: dict[Place, Attempt]
    succeeded: dict[Place, bool]
    prompts: int
    draftless: int
    sha256: dict[Side, str]


def attack(plan: Plan, progress: Progress = silent) -> Outcome:
    """Make every attempt that attempts.jsonl does not hold yet. May be ended at any time, and begun again.

    Raises:
        TakebackError: a file cannot be read or written, a model fails or cannot take back, or an extra is missing.
    """
    _check(plan)
    prompts = read_set("advbench", plan.prompts, plan.limit)
    with only_writer(plan.out):
        with Cast(plan, progress) as cast:
            drafts = _drafts(plan, prompts, cast, progress)
            attempts = _attempts(plan, prompts, drafts, cast, progress)
            digests = {side: cast.digest(cast.path(side)) for side in SIDES}
        succeeded = _judged(plan, attempts, progress)  # a guard may be large: the others are freed before
    return Outcome(attempts, succeeded, len(prompts), list(drafts.values()).count(""), digests)


def _attempts(
    plan: Plan, prompts: list[Prompt], drafts: dict[int, str], cast: Cast, progress: Progress
) -> dict[Place, Attempt]:
    found: dict[Place, Attempt] = {}
    with Journal(plan.out / "attempts.jsonl") as journal:
        for name, side in product(_names(plan), SIDES):
            if name == "adaptive" and side == "baseline":
                continue  # there is no reset to keep silent
            for done, prompt in enumerate(prompts):
                progress(f"{name}, {side}", done, len(prompts))
                if drafts.get(prompt.number) or not name.startswith("prefill"):
                    move = moves.Move(name, side, prompt, drafts.get(prompt.number, ""))
                    found[name, side, prompt.number] = _attempt(plan, cast, move, journal)
            progress(f"{name}, {side}", len(prompts), len(prompts))
    return found


def _check(plan: Plan) -> None:
    contract, _ = read_contract(read_header(plan.model))
    if contract is None:
        raise TakebackError(f"{plan.model}: it cannot take back, so there is nothing to compare")
    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    wanted = [name for name in plan.attacks if name in WHITEBOX]
    if missing and wanted:
        raise TakebackError(
            f"{' and '.join(wanted)} need {missing[0]}: pip install 'takeback[attacks]', or choose others with --only"
        )


def _names(plan: Plan) -> list[str]:
    """The attacks in their order, `prefill` once for each length."""
    found: list[str] = []
    for name in plan.attacks:
        found += [f"prefill_{length}" for length in LENGTHS] if name == "prefill" else [name]
    return found


def _drafts(plan: Plan, prompts: list[Prompt], cast: Cast, progress: Progress) -> dict[int, str]:
    """By prompt, the base's own harmful draft, "" where it wrote none; nothing where no attack needs them."""
    if not {"prefill", "adaptive"} & set(plan.attacks):
        return {}
    found = {}
    digest = cast.digest(plan.base)
    with Journal(plan.out / "drafts.jsonl") as journal:
        for done, prompt in enumerate(prompts):
            progress("drafts of the base", done, len(prompts))
            found[prompt.number] = draft(lambda: cast.session(plan.base), digest, prompt, plan.seed, journal)
    return found


def _attempt(plan: Plan, cast: Cast, move: moves.Move, journal: Journal) -> Attempt:
    """From the journal, or made now; a new one goes into the journal at once."""
    digest = cast.digest(cast.path(move.side))
    told = [digest, cast.mode(move.side), plan.seed, asdict(move.prompt), move.draft, REPLY]
    if move.searches:
        told.append(asdict(plan.limits))
    mark = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
    key = f"{move.name}/{move.prompt.number}/{move.side}/{mark}"
    if key not in journal.lines:
        journal.add(key, moves.make(move, cast, plan).as_json())
    return journal.read(key, attempt_from_json)


def _judged(plan: Plan, attempts: dict[Place, Attempt], progress: Progress) -> dict[Place, bool]:
    answers = [attempt.answer for attempt in attempts.values()]
    if plan.guard is None:
        return dict(zip(attempts, map(by_words, answers), strict=True))
    with Journal(plan.out / "guard.jsonl") as journal:
        found = by_guard(plan.guard, answers, journal, plan.threads, progress)
    return {place: said for place, said in zip(attempts, found, strict=True) if said is not None}
