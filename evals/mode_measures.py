"""What the further modes and the user's own prompts come to."""

from __future__ import annotations

from evals.cases import NEEDLESS
from evals.judges.keywords import refuses
from evals.measures import Answers, Measure, count_of, replies_to, title, was_taken_back
from evals.modes import FURTHER, HARMFUL, WHO, is_harmful, is_own

MODES, OWN = "Further modes", "Own prompts"


def mode_measures(answers: Answers) -> list[Measure]:
    """What the further modes do on the public sets: replies taken back, and harmless requests refused.

    With a refusal at the first token only, that is what "taken back" counts.
    """
    found: list[Measure] = []
    for mode in FURTHER:
        for probe in (*HARMFUL, *NEEDLESS):
            replies = replies_to(answers, probe, mode)
            if replies:
                name = f"{title(probe)}: taken back by {WHO[mode]}"
                found.append(count_of(MODES, f"{probe}_taken_back_{mode}", name, replies, was_taken_back))
            if replies and probe in NEEDLESS:
                name = f"{title(probe)}: refused by {WHO[mode]}"
                found.append(count_of(MODES, f"{probe}_refused_{mode}", name, replies, refuses))
    return found


def own_measures(answers: Answers) -> list[Measure]:
    """Resets, and refusals told by their words, on the user's own prompts; on harmless ones both are needless."""
    found: list[Measure] = []
    for probe in dict.fromkeys(probe for probe, _, _ in answers if is_own(probe)):
        needlessly = "" if is_harmful(probe) else " needlessly"
        for mode, who in WHO.items():
            replies = replies_to(answers, probe, mode)
            if replies and mode not in ("base", "off"):
                name = f"{title(probe)}: taken back{needlessly} by {who}"
                found.append(count_of(OWN, f"{probe}_taken_back_{mode}", name, replies, was_taken_back))
            if replies:
                name = f"{title(probe)}: refused{needlessly} by {who}"
                found.append(count_of(OWN, f"{probe}_refused_{mode}", name, replies, refuses))
    return found
