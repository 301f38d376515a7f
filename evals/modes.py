"""Who answers: the modes, and which replies each of them needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from evals.cases import HARMLESS, UNPREFILLED, Case, Mode

DEFAULT: tuple[Mode, ...] = ("base", "on", "off")
FURTHER: tuple[Mode, ...] = ("keep", "first_refusal")
WHO: dict[Mode, str] = {
    "base": "the base model",
    "on": "the model",
    "off": "the model, resets off",
    "keep": "the model, drafts kept in its context",
    "first_refusal": "the model, resets off but for a refusal at the first token",
}
"""Each mode in words, in the order of the tables."""
_ALWAYS = ("draft", "helpful_opening", "refusing_opening", "draft_elsewhere")
HARMFUL = ("advbench", *UNPREFILLED)
_OWN_HARMFUL, _OWN_HARMLESS = "harmful:", "harmless:"


def in_modes(cases: Iterable[Case], modes: Iterable[str], *, perplexity: bool = False) -> list[Case]:
    """The cases that these modes need. What `on` is asked, the further modes are asked too, but the controls.

    The controls and, for `perplexity`, the base model's harmless replies are needed whatever the modes.
    """
    wanted, given = set(modes), list(cases)
    found = [case for case in given if case.mode in wanted or _always(case, perplexity)]
    for mode in FURTHER:
        if mode in wanted:
            found += [replace(c, mode=mode) for c in given if c.mode == "on" and c.probe not in _ALWAYS]
    return found


def _always(case: Case, perplexity: bool) -> bool:
    return case.probe in _ALWAYS or (perplexity and case.mode == "base" and case.probe in HARMLESS)


def own_probe(name: str, *, harmful: bool) -> str:
    """What the prompts of a user's own file are known by."""
    return (_OWN_HARMFUL if harmful else _OWN_HARMLESS) + name


def is_own(probe: str) -> bool:
    """Whether these are prompts of a user's own file."""
    return probe.startswith((_OWN_HARMFUL, _OWN_HARMLESS))


def is_harmful(probe: str) -> bool:
    """Whether these prompts ask for harm and nothing but the prompt decides the reply: no control."""
    return probe in HARMFUL or probe.startswith(_OWN_HARMFUL)
