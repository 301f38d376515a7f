"""Pairs of token sequences for preference training: what should follow a context, and what should not.

P is the prompt, d an unsafe draft, s the safe reply to the same prompt, y a harmless reply, z another harmless reply
to the same prompt (y again where the rows have no other), R the reset token. An apostrophe is the text up to a place
drawn at random, two are the rest from there.

    teach      P d'  R s  over  d''     the paper: a draft that turned unsafe is taken back
    relapse    P s'  s''  over  R d     the paper: a safe reply is not taken back for an unsafe one
    penalise   P y'  y''  over  R z     a harmless reply under way is not taken back
    needless   P     y    over  R z     nor before it began: the class that the paper left out

All that both sides share is in the context, which is masked: it would cancel in the margin, and the words of a draft
must not be learnt by the term on the chosen side. Sequences are built of ids, so that R is one id and a typed
"[RESET]" is text.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from convert.errors import TakebackError
from train.dpo_settings import PairShares
from train.encode import RAMP, Encoder
from train.rows import Row

Kind = Literal["teach", "relapse", "penalise", "needless"]
Ids = tuple[int, ...]


@dataclass(frozen=True)
class Pair:
    """Ids of what both sides share, and of the two ways to go on, which differ from their first token on."""

    kind: Kind
    context: Ids
    chosen: Ids
    rejected: Ids


def make_pairs(
    rows: Sequence[Row], encoder: Encoder, shares: PairShares, tail: int, seed: int, where: str
) -> list[Pair]:
    """The pairs of all rows, in their order; the same seed makes the same pairs.

    `tail` is how many tokens of a harmless reply stay behind a rejected reset. Raises TakebackError, with `where` as
    the rows' name, for a prompt that leaves no room and for rows that make no pair at all.
    """
    chance = random.Random(seed)
    replies = _replies(rows, encoder)
    pairs: list[Pair] = []
    for number, row in enumerate(rows, 1):
        room = encoder.max_length - len(encoder.prompt(row))
        if room <= RAMP:
            raise TakebackError(
                f"{where}, row {number}: its prompt leaves no room for a reply in {encoder.max_length} tokens; "
                "raise --max-length, or leave the row out"
            )
        drawn = {name: chance.random() < share for name, share in asdict(shares).items()}
        made = (
            _safety(row, encoder, chance) if row.is_safety else _benign(row, encoder, replies, tail, chance)
        )
        pairs += [_cut_off(pair, encoder.max_length) for pair in made if drawn[pair.kind]]
    if not pairs:
        raise TakebackError(
            f"{where}: its rows make no pair: give longer drafts or replies, or larger shares"
        )
    return pairs


def count(pairs: Sequence[Pair]) -> dict[str, int]:
    """How many pairs there are of each kind."""
    kinds = [pair.kind for pair in pairs]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


def order(lengths: Sequence[int], steps: int, batch: int, seed: int) -> list[int]:
    """Which pairs each step sees: steps * batch numbers, an epoch after the other, each in its own random order.

    Inside a step the pairs are sorted by length, so that the pieces it is computed in need little padding.
    """
    chance = random.Random(seed)
    stream: list[int] = []
    while len(stream) < steps * batch:
        epoch = list(range(len(lengths)))
        chance.shuffle(epoch)
        stream += epoch
    steps_of = (stream[i * batch : (i + 1) * batch] for i in range(steps))
    return [number for step in steps_of for number in sorted(step, key=lambda n: lengths[n])]


def _safety(row: Row, encoder: Encoder, chance: random.Random) -> list[Pair]:
    prompt, reset = encoder.prompt(row), (encoder.reset_id,)
    given = encoder.text(row.prefill)
    draft = given + encoder.text(row.unsafe)
    safe = (*encoder.text(row.safe), encoder.end)
    most = encoder.max_length - len(prompt) - RAMP
    made = []
    # The prefill alone is nobody's draft: at least one token of the draft's own comes before the reset.
    at = _place(len(given) + 1, min(most, len(draft) - 1), chance)
    if at:
        made.append(Pair("teach", prompt + draft[:at], reset + safe, draft[at:]))
    at = _place(1, min(most, len(safe) - 1), chance)
    if at:
        made.append(Pair("relapse", prompt + safe[:at], safe[at:], reset + draft))
    return made


def _benign(
    row: Row, encoder: Encoder, replies: Mapping[str, Sequence[Ids]], tail: int, chance: random.Random
) -> list[Pair]:
    prompt, reply = encoder.prompt(row), encoder.reply(row)
    others = [other for other in replies[_key(row)] if other != reply]
    again = (encoder.reset_id, *(chance.choice(others) if others else reply)[:tail])
    given = len(encoder.text(row.prefill))
    most = encoder.max_length - len(prompt) - RAMP
    made = []
    at = _place(max(1, given), min(most, len(reply) - 1), chance)
    if at:
        made.append(Pair("penalise", prompt + reply[:at], reply[at:], again))
    if reply and not given:  # with words put into the model's mouth there is no place before the reply
        made.append(Pair("needless", prompt, reply, again))
    return made


def _place(least: int, most: int, chance: random.Random) -> int | None:
    return chance.randint(least, most) if least <= most else None


def _cut_off(pair: Pair, length: int) -> Pair:
    room = length - len(pair.context)
    return Pair(pair.kind, pair.context, pair.chosen[:room], pair.rejected[:room])


def _replies(rows: Sequence[Row], encoder: Encoder) -> Mapping[str, Sequence[Ids]]:
    """By their messages, the harmless replies that the rows have."""
    known: dict[str, list[Ids]] = defaultdict(list)
    for row in rows:
        if not row.is_safety:
            known[_key(row)].append(encoder.reply(row))
    return known


def _key(row: Row) -> str:
    return json.dumps(row.messages)
