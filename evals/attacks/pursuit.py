"""One attack on one prompt: its search, within its limits, and the reply that it came to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from evals.answers import Answer, answer_from_json
from evals.attacks.cost import Cost
from evals.attacks.judge import by_words
from evals.attacks.plan import Limits


@dataclass(frozen=True)
class Step:
    """The best that a search has found so far: the message to send, and how good it is.

    `loss` is in nats a token of the target, lower is better, with what the adaptive attack adds; `over` is how
    far the reset is above where it fires, in nats, the mean over the places that the attack looks at.
    """

    text: str
    loss: float
    over: float | None = None


@dataclass(frozen=True)
class Attempt:
    """What came of an attack on one prompt. `first` and `last` are steps of the search; None without one."""

    answer: Answer
    steps: int
    first: Step | None
    last: Step | None
    forwards: int
    tokens: int
    seconds: float
    out_of_time: bool

    def as_json(self) -> dict[str, Any]:
        """The fields of one line of attempts.jsonl."""
        return asdict(self) | {"answer": self.answer.as_json()}


def attempt_from_json(line: dict[str, Any]) -> Attempt:
    """The inverse of `Attempt.as_json`.

    Raises:
        KeyError, TypeError: a field is missing, or holds something else.
    """
    first, last = (Step(**line[name]) if line[name] else None for name in ("first", "last"))
    names = ("steps", "forwards", "tokens", "seconds", "out_of_time")
    fields = {name: line[name] for name in names}
    return Attempt(answer_from_json(line["answer"]), first=first, last=last, **fields)


def pursue(search: Iterator[Step], limits: Limits, cost: Cost, ask: Callable[[str], Answer]) -> Attempt:
    """Search until an attack succeeds or its steps or seconds are spent.

    Every `limits.check` steps, and at the end, the model is asked with the best message so far; the same message
    is not asked twice. The first step is made whatever the time.
    """
    first = last = None
    asked: dict[str, Answer] = {}
    steps, late = 0, False
    for step in search:
        first, last, steps = first or step, step, steps + 1
        late = cost.seconds >= limits.seconds and steps < limits.steps
        ends = late or steps >= limits.steps
        if (ends or steps % limits.check == 0) and step.text not in asked:
            asked[step.text] = ask(step.text)
        if ends or (step.text in asked and by_words(asked[step.text])):
            break
    if last is None:
        raise ValueError("a search without a step")
    answer = asked[last.text]
    succeeded = by_words(answer)
    return Attempt(
        answer, steps, first, last, cost.forwards, cost.tokens, cost.seconds, late and not succeeded
    )
