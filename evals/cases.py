"""Which replies an evaluation needs: each a prompt, what is put into the model's mouth, and who answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from evals.openings import helpful_opening, refusing_opening
from evals.sets import Prompt

Mode = Literal["base", "on", "off", "keep", "first_refusal"]
"""Who answers: the base model; the model as it is, with resets off, or with its drafts kept in its context;
or the model with resets off but for a refusal at the first token."""

PARTS = {
    "advbench": ("advbench",),
    "controls": ("advbench", "mt_bench"),
    "malicious_instructions": ("malicious_instructions",),
    "simple_safety_tests": ("simple_safety_tests",),
    "mt_bench": ("mt_bench",),
    "benign": (),
    "xstest": ("xstest",),
    "perplexity": ("mt_bench",),
}
"""The parts of an evaluation, and the public sets that each reads."""
UNPREFILLED = ("malicious_instructions", "simple_safety_tests")
HARMLESS = ("mt_bench", "benign")
NEEDLESS = (*HARMLESS, "xstest")

DRAFT_TOKENS = 40
"""How long a harmful draft is that is put under another prompt, its AdvBench target included."""
FEWEST_DRAFTS = 100  # harmless prompts are used again until there are so many pairs
ATTACKED, CONTROL, OFF, FREE = 64, 40, 20, 120
"""Longest drafts and replies, in tokens: in attacks, in controls, with resets off, without a prefill."""
HARMLESS_REPLY, COMPARED_REPLY = 128, 128
"""The same, of harmless requests: by the model, and by the base model for its words and the perplexity."""


@dataclass(frozen=True)
class Case:
    """One reply that is wanted. `max_tokens` bounds each draft and the final reply alike.

    They are generated tokens; `whole` counts the prefilled beginning among them. `sample` tells replies apart
    that are drawn for one prompt at a temperature.
    """

    probe: str
    number: int
    mode: Mode
    prompt: str
    prefill: str
    max_tokens: int
    whole: bool = False
    temperature: float = 0.0
    sample: int = 0

    def key(self, model: str, seed: int) -> str:
        """What this reply is known by, with a hash of all that it depends on. `model`: the file's hash."""
        drawn = [self.temperature, self.sample] if self.temperature or self.sample else []
        settings = json.dumps([model, seed, self.prompt, self.prefill, self.max_tokens, *drawn])
        return f"{self.probe}/{self.number}/{self.mode}/{hashlib.sha256(settings.encode()).hexdigest()[:16]}"


def base_cases(parts: Iterable[str], prompts: Mapping[str, list[Prompt]]) -> list[Case]:
    """What the base model is to answer: harmful drafts to be put elsewhere, and replies to compare with."""
    wanted = set(parts)
    cases: list[Case] = []
    if "controls" in wanted:
        drafts = prompts["advbench"][: _pairs(prompts)]
        cases += [Case("draft", p.number, "base", p.text, p.target, DRAFT_TOKENS, whole=True) for p in drafts]
    for name in UNPREFILLED:
        if name in wanted:
            cases += _plain(name, prompts[name], "base", FREE)
    for name in NEEDLESS:
        if name in wanted or (name in HARMLESS and "perplexity" in wanted):
            cases += _plain(name, prompts.get(name, []), "base", COMPARED_REPLY)
    return cases


def model_cases(
    parts: Iterable[str], prompts: Mapping[str, list[Prompt]], drafts: Mapping[int, str]
) -> list[Case]:
    """What the model is to answer. `drafts`: by AdvBench number, the harmful drafts of the base model."""
    wanted = set(parts)
    cases: list[Case] = []
    if "advbench" in wanted:
        for prompt in prompts["advbench"]:
            attack = (prompt.text, prompt.target)
            cases.append(Case("advbench", prompt.number, "on", *attack, ATTACKED))
            cases.append(Case("advbench", prompt.number, "off", *attack, OFF))
    if "controls" in wanted:
        cases += _controls(prompts, drafts)
    for name in UNPREFILLED:
        if name in wanted:
            cases += _plain(name, prompts[name], "on", FREE) + _plain(name, prompts[name], "off", FREE)
    for name in NEEDLESS:
        if name in wanted:
            cases += _plain(name, prompts.get(name, []), "on", HARMLESS_REPLY)
    return cases


def _controls(prompts: Mapping[str, list[Prompt]], drafts: Mapping[int, str]) -> list[Case]:
    """The three controls, which tell a model that knows harm from one that knows words."""
    harmless, harmful = _harmless(prompts), prompts["advbench"]
    cases = [
        Case("helpful_opening", place, "on", prompt.text, helpful_opening(prompt.text), CONTROL)
        for place, prompt in enumerate(harmless, 1)
    ]
    cases += [
        Case("refusing_opening", prompt.number, "on", prompt.text, refusing_opening(prompt.number), CONTROL)
        for prompt in harmful
    ]
    for place, prompt in enumerate(harmful[: _pairs(prompts)]):
        other = harmless[place % len(harmless)]
        if prompt.number in drafts:
            draft = drafts[prompt.number]
            cases.append(Case("draft_elsewhere", prompt.number, "on", other.text, draft, CONTROL))
    return cases


def _harmless(prompts: Mapping[str, list[Prompt]]) -> list[Prompt]:
    return [prompt for name in HARMLESS for prompt in prompts.get(name, [])]


def _pairs(prompts: Mapping[str, list[Prompt]]) -> int:
    """How many harmful drafts are put under harmless prompts."""
    return max(FEWEST_DRAFTS, len(_harmless(prompts)))


def _plain(probe: str, prompts: list[Prompt], mode: Mode, max_tokens: int) -> list[Case]:
    return [Case(probe, prompt.number, mode, prompt.text, "", max_tokens) for prompt in prompts]
