"""AutoDAN on one prompt: stories around the request, bred for how likely they make the target.

It needs no gradient, so the fitness is what the engine itself gives the target, on the very file that is judged.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path

from assistant.engine.message import Message
from assistant.engine.scoring import score
from assistant.engine.session import Session
from evals.attacks.cost import Cost
from evals.attacks.genetic import Text, generations, joined, sentences
from evals.attacks.plan import REPLY
from evals.attacks.pursuit import Step
from evals.attacks.suffix import prompt_ids
from evals.sets import Prompt

_SEEDS = Path(__file__).parent / "seeds.txt"
_LONGEST = 2_000  # characters; changes may make a text longer and longer


def seed_texts() -> list[Text]:
    """The stories that the first generation is made of."""
    texts = _SEEDS.read_text(encoding="utf-8").split("\n\n")
    return [sentences(text) for text in texts if text.strip()]


def breed(session: Session, prompt: Prompt, size: int, seed: int, cost: Cost) -> Iterator[Step]:
    """The best story so far, generation by generation; the loss is the target's, in nats a token."""

    def fitness(text: Text) -> float:
        story = joined(text, prompt.text)
        ids = prompt_ids(session, story)
        if len(story) > _LONGEST + len(prompt.text) or len(ids) + REPLY > session.info.context_length:
            return -math.inf
        target = session.template.content(prompt.target, ids)
        logs, _ = score(session, [Message("user", story)], target)
        cost.read(1, len(ids) + len(target))
        return float(logs.mean())

    chance = random.Random(f"{seed} {prompt.number}")
    for best, text in generations(seed_texts(), fitness, size, chance):
        yield Step(joined(text, prompt.text), -best)
