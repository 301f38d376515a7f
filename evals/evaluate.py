"""A whole evaluation: every reply and score that is not there yet, and then the report on all of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.engine.message import Message
from assistant.engine.options import LoadOptions
from assistant.engine.scoring import score
from assistant.engine.session import Session
from assistant.locks import only_writer
from convert.errors import TakebackError
from convert.progress import Progress, silent
from evals import measures
from evals.answers import Answer, answer_from_json, ask
from evals.cases import HARMLESS, Case, base_cases, model_cases
from evals.curves import curve_measures, sample_cases
from evals.digest import file_sha256
from evals.journal import Journal
from evals.judging import Judgement, judge_answers, open_judge
from evals.modes import in_modes
from evals.perplexity import Comparison, Score, compare
from evals.plan import Plan, own_cases, read_prompts

CONTEXT = 2048
"""Tokens: every prompt of the sets fits with its reply."""


@dataclass(frozen=True)
class Outcome:
    """All that was found: the replies by probe, number and mode, and the perplexities if asked for."""

    answers: dict[tuple[str, int, str], Answer]
    perplexity: Comparison | None
    model_sha256: str
    base_sha256: str
    judgement: Judgement | None = None
    curves: tuple[measures.Measure, ...] = ()


def evaluate(plan: Plan, progress: Progress = silent) -> Outcome:
    """Ask for every reply that replies.jsonl does not hold yet. May be ended at any time, and begun again.

    Raises:
        TakebackError: a file cannot be read or written, or a model fails.
    """
    prompts, own = read_prompts(plan), own_cases(plan)
    with only_writer(plan.out), Journal(plan.out / "replies.jsonl") as replies:
        base = _Speaker(plan.base, "base model", plan, progress)
        model = _Speaker(plan.model, "model", plan, progress)
        try:
            compares = "perplexity" in plan.parts
            cases = in_modes([*base_cases(plan.parts, prompts), *own], plan.modes, perplexity=compares)
            cases = [case for case in cases if case.mode == "base"]
            answers = base.answer(cases, replies)
            drafts = {a.number: a.text for a in answers if a.probe == "draft"}
            wanted = in_modes([*model_cases(plan.parts, prompts, drafts), *own], plan.modes)
            wanted = [case for case in wanted if case.mode != "base"]
            answers += model.answer(wanted, replies)
            found = {(a.probe, a.number, a.mode): a for a in answers}
            compared = _perplexity(plan, found, base, model) if compares else None
            samples = sample_cases([*cases, *wanted], plan.curve) if plan.curve else []
            drawn = _draw(samples, base, model, replies)
        finally:
            base.close()
            model.close()
        judgement, curves = _judge(plan, found, samples, drawn, progress)
    return Outcome(found, compared, model.digest, base.digest, judgement, curves)


def _draw(samples: Sequence[Case], base: _Speaker, model: _Speaker, journal: Journal) -> list[Answer]:
    """A reply to each case, in order; each model is asked all of its own at once."""
    own = [case.mode == "base" for case in samples]
    by_base = iter(base.answer([c for c, b in zip(samples, own, strict=True) if b], journal))
    by_model = iter(model.answer([c for c, b in zip(samples, own, strict=True) if not b], journal))
    return [next(by_base if b else by_model) for b in own]


def _judge(
    plan: Plan,
    answers: measures.Answers,
    samples: Sequence[Case],
    drawn: Sequence[Answer],
    progress: Progress,
) -> tuple[Judgement | None, tuple[measures.Measure, ...]]:
    """What the judge of the plan, if there is one, says of the replies and of the samples."""
    with open_judge(plan, progress) as judge:
        if not judge:
            return None, ()
        judgement = judge_answers(judge, plan, answers)
        if not plan.curve:
            return judgement, ()
        word = "not refused by its words" if plan.judge == "keywords" else "unsafe by the guard"
        return judgement, tuple(curve_measures(samples, drawn, judge.judge, plan.curve, word))


class _Speaker:
    """A model that is loaded when the first thing is asked of it that is not written down yet."""

    def __init__(self, path: Path, who: str, plan: Plan, progress: Progress) -> None:
        self.path, self.who = path, who
        self._plan, self._progress = plan, progress
        self._session: Session | None = None
        self.digest = file_sha256(
            path, lambda done, total: progress(f"{who}: checking the file", done, total)
        )

    @property
    def session(self) -> Session:
        """The loaded model."""
        if self._session is None:
            options = LoadOptions(ctx=CONTEXT, threads=self._plan.threads)
            self._session = Session.open(self.path, options)
        return self._session

    def texts(self, tokens: Sequence[int]) -> list[str | None]:
        """What each of these ids stands for in this model's vocabulary; None for one that it does not have."""
        vocabulary = self.session.vocabulary
        return [vocabulary.text(token) if token < vocabulary.size else None for token in tokens]

    def close(self) -> None:
        """Free the model, if it was loaded."""
        if self._session is not None:
            self._session.close()

    def answer(self, cases: Sequence[Case], journal: Journal) -> list[Answer]:
        """A reply to each case, from the journal or from the model; new ones go into the journal at once."""
        seed = self._plan.seed
        keyed = [(case.key(self.digest, seed), case) for case in cases]
        missing = [(key, case) for key, case in keyed if key not in journal.lines]
        total, done = sum(case.max_tokens for _, case in missing), 0
        for key, case in missing:
            self._progress(f"{self.who}: {len(missing)} replies", done, total)
            journal.add(key, ask(self.session, case, seed).as_json())
            done += case.max_tokens
        if missing:
            self._progress(f"{self.who}: {len(missing)} replies", total, total)
        return [journal.read(key, answer_from_json) for key, _ in keyed]

    def score(self, answers: Sequence[Answer], journal: Journal) -> list[Score]:
        """How likely each of these replies is to this model, from the journal or from the model."""
        found = []
        for done, answer in enumerate(answers):
            said = hashlib.sha256(f"{answer.prompt}\0{answer.ids}".encode("utf-8", "replace")).hexdigest()
            key = f"{answer.probe}/{answer.number}/{self.digest[:16]}/{said[:16]}"
            if key not in journal.lines:
                self._progress(f"{self.who}: perplexity", done, len(answers))
                logs, _ = score(self.session, [Message("user", answer.prompt)], answer.ids)
                journal.add(key, {"log_probability": math.fsum(logs), "tokens": len(answer.ids)})
            found.append(journal.read(key, lambda line: Score(line["log_probability"], line["tokens"])))
        return found


def _perplexity(plan: Plan, answers: measures.Answers, base: _Speaker, model: _Speaker) -> Comparison | None:
    """Score the base model's own replies to harmless prompts with both models."""
    own = [a for (probe, _, mode), a in answers.items() if probe in HARMLESS and mode == "base" and a.ids]
    used = sorted({token for answer in own for token in answer.ids})
    if base.texts(used) != model.texts(used):
        raise TakebackError(
            f"{plan.model.name} and {plan.base.name} have different vocabularies, so their perplexities cannot be "
            "compared: name the model it was trained from with --base, or leave the part perplexity out with --only"
        )
    with Journal(plan.out / "scores.jsonl") as journal:
        return compare(base.score(own, journal), model.score(own, journal))
