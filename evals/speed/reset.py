"""From a reset to the next token, against one ordinary step, at several lengths of prompt.

A rule that fires by count stands in for the model's own, so that any model can be measured; all else is what
a user runs. Run: python -m evals.speed.reset MODEL
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from assistant.engine.events import Done, Event, Reset, Text
from assistant.engine.generate import Model, ResetRule, generate
from assistant.engine.options import GenerateOptions, LoadOptions
from assistant.engine.rewind import Reply
from assistant.engine.sampler import Sampler
from assistant.engine.session import Session
from assistant.engine.voice import Voice
from convert.errors import TakebackError

DRAFT = 40
"""Tokens in each draft that is taken back."""


class _ByCount(ResetRule):
    """Fires after every DRAFT tokens, `left` times."""

    checks = left = 0

    def fires(self, model: Model) -> bool:
        super().fires(model)  # the work of the real rule, and the mask
        _ByCount.checks += 1
        if _ByCount.left and _ByCount.checks % (DRAFT + 1) == 0:
            _ByCount.left -= 1
            return True
        return False


def measure(
    model: Path,
    *,
    prompts: Sequence[int] = (100, 1_000, 4_000),
    resets: int = 8,
    after: str = "rewind",
    threads: int | None = None,
) -> dict[str, Any]:
    """Measure `resets` resets at each length of prompt, in tokens. Times in milliseconds, medians.

    Returns for each length the time from a reset to the next token, that of one step, and their ratio.
    """
    room = max(prompts) + DRAFT * (resets + 1 if after == "keep" else 2)
    rows = []
    with Session.open(model, LoadOptions(ctx=room, threads=threads, reset_token=None)) as session:
        if session.info.context_length < room:
            raise TakebackError(
                f"{model}: its context of {session.info.context_length:,} tokens is too short"
            )
        for length in prompts:
            session.memory.forget()
            text = "The sea is wide and the sky is high. " * (length // 4)
            prompt = session.vocabulary.tokenize(text)[:length]
            reset, step = reset_and_step(reply_with_resets(session, prompt, resets, after))
            rows.append(
                {
                    "prompt_tokens": length,
                    "reset_ms": round(reset, 2),
                    "step_ms": round(step, 2),
                    "ratio": round(reset / step, 3),
                }
            )
    return {"rows": rows, "ratio": max(row["ratio"] for row in rows), "target": "<= 1.2, flat"}


def reply_with_resets(session: Session, prompt: Sequence[int], resets: int, after: str) -> Iterator[Event]:
    """A reply to these ids that is taken back so many times, after DRAFT tokens each."""
    contract = session.info.contract
    token = contract.token_id if contract else session.vocabulary.eos or 0
    rule = _ByCount(token, "keep" if after == "keep" else "rewind")
    _ByCount.checks, _ByCount.left = 0, resets
    sampler = Sampler(session.context, GenerateOptions(), 1)
    voice = Voice(session.info.name, session.memory, session.vocabulary, sampler, session.context.uncancel)
    voice.is_end = lambda token: False
    return generate(voice, prompt, [], rule, Reply(max_resets=resets, max_tokens=DRAFT + 8))


def first_token_ms(session: Session, prompt: Sequence[int]) -> float:
    """The time to the first token of a reply to these ids."""
    sampler = Sampler(session.context, GenerateOptions(), 1)
    voice = Voice(session.info.name, session.memory, session.vocabulary, sampler, session.context.uncancel)
    *_, done = generate(voice, prompt, [], ResetRule(), Reply(max_tokens=1))
    assert isinstance(done, Done) and done.ttft_ms is not None
    return done.ttft_ms


def reset_and_step(events: Iterator[Event]) -> tuple[float, float]:
    """The median time from a reset to the next token, and of an ordinary step, in milliseconds."""
    resets, steps = [], []
    last: Event | None = None
    then = time.perf_counter()
    for event in events:
        now = time.perf_counter()
        if isinstance(event, Text):
            if isinstance(last, Text):
                steps.append((now - then) * 1e3)
            elif isinstance(last, Reset):
                resets.append(last.rewind_ms + (now - then) * 1e3)
        last, then = event, now
    return statistics.median(resets), statistics.median(steps)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--resets", type=int, default=8)
    parser.add_argument("--after", choices=("rewind", "keep"), default="rewind")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    found = measure(args.model, resets=args.resets, after=args.after, threads=args.threads)
    print(f"{'prompt tokens':>14}{'reset ms':>12}{'step ms':>12}{'ratio':>8}")
    for row in found["rows"]:
        print(f"{row['prompt_tokens']:>14}{row['reset_ms']:>12}{row['step_ms']:>12}{row['ratio']:>8}")


if __name__ == "__main__":
    main()
