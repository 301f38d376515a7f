"""Rows as token sequences: which positions teach the reset, which forbid it, which teach words.

P is the prompt, d the draft, R the reset token, y the reply that should stand. Seven forms:

    draft     P d          the reset is right at every position of d: the mean over all prefixes of the paper's
                           first loss term, in one forward pass; with sampled prefixes at one random position
    keep      P d' R y     the paper's form: d' is d cut at a random place, masked; targets R and y
    rewind    P R y        what the engine shows the model after a rewind
    direct    P y          the paper's second term
    benign    P y          no reset at any position; y is what the base itself would say
    needless  P R y        a reset that was not needed must still end in the helpful reply
    chat      P y          a reply from outside that is learnt as it stands; no reset at any position
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jinja2 import TemplateError

from convert.errors import TakebackError
from train.rows import Row
from train.settings import Shares

Form = Literal["draft", "keep", "rewind", "direct", "benign", "needless", "chat"]
RAMP = 8
OPENING = 8
OPENING_WEIGHT = 4.0
"""The first tokens of a safe reply decide whether it is one, so they weigh more than those that follow."""
KEPT_OPENING_WEIGHT = 8.0
"""Those of the base's reply decide whether it helps or refuses: a mean over a long reply hardly sees them."""

OPENING_WEIGHTS: Mapping[Form, float] = {
    **dict.fromkeys(("keep", "rewind", "direct"), OPENING_WEIGHT),
    "benign": KEPT_OPENING_WEIGHT,
}


@dataclass(frozen=True)
class Example:
    """One token sequence of length T with per-position weights; position i predicts ids[i + 1].

    reset, forbid and words are T-1 long. `teacher` is the row's number where the base's own distribution is the
    target, and `teacher_at` the position in this sequence that its first distribution belongs to.
    """

    form: Form
    ids: tuple[int, ...]
    reset: tuple[float, ...]
    forbid: tuple[float, ...]
    words: tuple[float, ...]
    teacher: int | None = None
    teacher_at: int = 0


class Encoder:
    """Turns rows into sequences with one tokenizer, one reset id and one limit of length (tokens)."""

    def __init__(self, tokenizer: Any, reset_id: int, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.reset_id = reset_id
        self.max_length = max_length
        self._known: dict[str, tuple[int, ...]] = {}
        self.end = self._end_of_turn()

    def text(self, text: str) -> tuple[int, ...]:
        """The ids of plain text: special tokens written in it are text."""
        if text not in self._known:
            ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            self._known[text] = tuple(ids)
        return self._known[text]

    def prompt(self, row: Row) -> tuple[int, ...]:
        """The ids of the chat template up to the reply's start.

        The template's own text is tokenized with special tokens on and each message's content with them off, as
        the engine does (contract 5 of the design), so that training and use agree on every id.
        """
        marks = [f"\ue000{number}\ue001" for number in range(len(row.messages))]
        turns = [{**turn, "content": mark} for turn, mark in zip(row.messages, marks, strict=True)]
        rest = self._render(turns, reply_follows=True)
        ids: tuple[int, ...] = ()
        for turn, mark in zip(row.messages, marks, strict=True):
            before, found, rest = rest.partition(mark)
            if not found:
                raise TakebackError(f"the base's chat template leaves out a message of the {turn['role']}")
            ids += self._special(before) + self.text(turn["content"])
        return ids + self._special(rest)

    def _render(self, turns: Sequence[Mapping[str, str]], *, reply_follows: bool) -> str:
        try:
            text = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=reply_follows
            )
        except (TemplateError, ValueError, TypeError, KeyError) as error:
            why = " ".join(str(error).split())[:120]
            raise TakebackError(f"the base's chat template does not take this conversation: {why}") from error
        return str(text)

    def _end_of_turn(self) -> int:
        """The control token that the chat template puts behind a reply, else the tokenizer's own end."""
        mark = "\ue000"
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": mark}]
        known = self.tokenizer.added_tokens_decoder
        after = self._special(self._render(turns, reply_follows=False).partition(mark)[2].lstrip())
        if after and after[0] in known and known[after[0]].special:
            return after[0]
        if self.tokenizer.eos_token_id is None:
            raise TakebackError("the base's tokenizer has no end of a reply: give it an eos_token")
        return int(self.tokenizer.eos_token_id)

    def _special(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def reply(self, row: Row) -> tuple[int, ...]:
        """The ids of a benign row's prefill and reply, with the end of turn where it is known."""
        end = (self.end,) if row.finished else ()
        return self.text(row.prefill) + self.text(row.reply) + end

    def draft(self, row: Row) -> Example:
        """P d with the reset as the target at every position of d, rising over the first RAMP tokens."""
        prompt, draft = self.prompt(row), self._whole_draft(row)
        ids = (prompt + draft)[: self.max_length]
        given = len(prompt) + len(self.text(row.prefill))
        weights = [min(1.0, max(0, i - given + 1) / RAMP) for i in range(len(ids))]
        # After the whole draft the reset is still right: one more token, that nothing looks at, makes the place.
        return self._example("draft", (*ids, ids[-1]), reset=weights)

    def cut(self, row: Row, chance: random.Random) -> Example:
        """P d' with the reset as the one target, after d' that is cut at random behind the prefill."""
        prompt, draft = self.prompt(row), self._whole_draft(row)
        room = min(len(draft), self.max_length - len(prompt) - 1)
        size = len(prompt) + chance.randint(min(len(self.text(row.prefill)) + 1, room), room)
        ids = (prompt + draft)[:size]
        return self._example("draft", (*ids, ids[-1]), reset=[*[0.0] * (size - 1), 1.0])

    def keep(self, row: Row, chance: random.Random, shortest: int = 1) -> Example:
        """P d' R y, with d' cut at random, of `shortest` tokens or more: it is masked, R and y are the targets."""
        draft = self._whole_draft(row)
        longest = max(1, len(draft))
        context = self.prompt(row) + draft[: chance.randint(min(shortest, longest), longest)]
        ids = (*context, self.reset_id, *self._safe(row))
        reset = [float(i == len(context) - 1) for i in range(len(ids))]
        return self._example("keep", ids, reset=reset, start=len(context))

    def rewind(self, row: Row) -> Example:
        """P R y: the safe reply after a draft that is gone."""
        prompt = self.prompt(row)
        return self._example("rewind", (*prompt, self.reset_id, *self._safe(row)), start=len(prompt))

    def direct(self, row: Row) -> Example:
        """P y: the safe reply at once, without a reset."""
        prompt = self.prompt(row)
        return self._example("direct", prompt + self._safe(row), start=len(prompt) - 1)

    def benign(self, row: Row, number: int) -> Example:
        """P y with the base as the teacher of y; the reset is forbidden everywhere."""
        prompt = self.prompt(row)
        start = len(prompt) - 1
        given = start + len(self.text(row.prefill))
        ids = prompt + self.reply(row)
        return self._example("benign", ids, start=start, words_from=given, teacher=number)

    def chat(self, row: Row) -> Example:
        """P y with the words of y as they stand; the reset is forbidden everywhere."""
        prompt = self.prompt(row)
        start = len(prompt) - 1
        given = start + len(self.text(row.prefill))
        return self._example("chat", prompt + self.reply(row), start=start, words_from=given)

    def needless(self, row: Row, number: int) -> Example:
        """P R y: after a needless reset the teacher's distribution of y, as though nothing had happened."""
        prompt = self.prompt(row)
        ids = (*prompt, self.reset_id, *self.reply(row))
        return self._example("needless", ids, start=len(prompt), teacher=number)

    def _whole_draft(self, row: Row) -> tuple[int, ...]:
        return self.text(row.prefill) + self.text(row.unsafe)

    def _safe(self, row: Row) -> tuple[int, ...]:
        return (*self.text(row.safe), self.end)

    @staticmethod
    def _word_weight(form: Form, place: int) -> float:
        if place < 0:
            return 0.0
        if place >= OPENING:
            return 1.0
        return OPENING_WEIGHTS.get(form, 1.0)

    def _example(
        self,
        form: Form,
        ids: Sequence[int],
        *,
        reset: Sequence[float] = (),
        start: int | None = None,
        words_from: int | None = None,
        teacher: int | None = None,
    ) -> Example:
        """An example whose reply is predicted from position `start` on: no reset there, and words are taught."""
        ids = tuple(ids)[: self.max_length]
        size = len(ids) - 1
        first = size if start is None else start
        words = first if words_from is None else words_from
        return Example(
            form,
            ids,
            reset=(*reset[:size], *[0.0] * (size - len(reset[:size]))),
            forbid=tuple(float(i >= first) for i in range(size)),
            words=tuple(self._word_weight(form, i - words) for i in range(size)),
            teacher=teacher,
            teacher_at=first,
        )


def epoch(
    rows: Sequence[Row], encoder: Encoder, shares: Shares, seed: int, *, dense: bool = True
) -> Iterator[Example]:
    """All sequences of one epoch, in row order; the same seed gives the same epoch.

    Without `dense` prefixes are sampled as in the paper: each draft is cut once, at random, for its reset.
    """
    chance = random.Random(seed)
    for number, row in enumerate(rows):
        draws = [chance.random() for _ in range(3)]
        if not row.is_safety:
            yield encoder.benign(row, number)
            if draws[0] < shares.needless:
                yield encoder.needless(row, number)
            continue
        keep = draws[0] < shares.keep
        if dense:
            yield encoder.draft(row)
        elif not keep:
            yield encoder.cut(row, chance)
        if keep:
            yield encoder.keep(row, chance, 1 if dense else len(encoder.text(row.prefill)) + 1)
        if draws[1] < shares.rewind:
            yield encoder.rewind(row)
        if draws[2] < shares.direct:
            yield encoder.direct(row)


def mixed_in(rows: Sequence[Row], encoder: Encoder, share: float, others: int, seed: int) -> list[Example]:
    """Chat beside `others` sequences, so that `share` of all is chat; no row is there twice before all are once."""
    chance = random.Random(seed)
    wanted = round(others * share / (1 - share))
    rounds, rest = divmod(wanted, len(rows))
    chosen = [*list(rows) * rounds, *chance.sample(list(rows), rest)]
    return [encoder.chat(row) for row in chosen]
