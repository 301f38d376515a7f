"""The next turn's first token, after a reply with a reset, against reading only that turn's new tokens.

What the reset left to do is done while the user reads the reply, so the next turn must not wait for it. Run:
python -m evals.speed.next_turn MODEL
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

from assistant.engine.events import Done
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions, LoadOptions
from assistant.engine.session import Session
from evals.speed.reset import reply_with_resets

QUESTION = Message("user", "Tell me what there is to see by the sea, and what to take along. " * 10)
FOLLOW_UP = Message("user", "And in the mountains? Tell me in a few words what is different there.")


def measure(model: Path, *, rounds: int = 5, threads: int | None = None) -> dict[str, Any]:
    """Measure both in turn, `rounds` times. Times in milliseconds, medians; the ratio is of each round.

    The time that the context was put in order after the reply is told too: the user reads meanwhile.
    """
    turns: list[float] = []
    least: list[float] = []
    settling: list[float] = []
    with Session.open(model, LoadOptions(threads=threads)) as session:
        for _ in range(rounds):
            session.memory.forget()
            reply, settled = _first_turn(session)
            settling.append(settled)
            conversation = [QUESTION, reply, FOLLOW_UP]
            options = GenerateOptions(max_tokens=1, after_reset="off", seed=1)
            done = list(session.generate(conversation, options))[-1]
            assert isinstance(done, Done) and done.ttft_ms is not None
            turns.append(done.ttft_ms)
            least.append(_only_new(session, session.template.ids(conversation), reply.ids or ()))
    return {
        "first_token_ms": round(statistics.median(turns), 1),
        "new_tokens_only_ms": round(statistics.median(least), 1),
        "settling_ms": round(statistics.median(settling), 1),
        "ratio": round(statistics.median(a / b for a, b in zip(turns, least, strict=True)), 3),
        "target": "<= 1.2",
    }


def _first_turn(session: Session) -> tuple[Message, float]:
    """A reply that was taken back once, and how long the context took to be put in order, in milliseconds."""
    prompt = session.template.ids([QUESTION])
    done: Done | None = None
    ended = 0.0
    for event in reply_with_resets(session, prompt, 1, "rewind"):
        if isinstance(event, Done):
            done, ended = event, time.perf_counter()
    settled = (time.perf_counter() - ended) * 1e3
    assert done is not None
    return Message("assistant", done.text, done.ids, session.info.vocab_sha256), settled


def _only_new(session: Session, ids: list[int], reply: tuple[int, ...]) -> float:
    """Milliseconds to read what follows the reply, in a memory that never knew a draft."""
    known = len(session.template.ids([QUESTION])) + len(reply)
    memory = session.memory
    memory.forget()
    for _ in memory.read(ids[:known]):
        pass
    started = time.perf_counter()
    for _ in memory.read(ids[known:]):
        pass
    return (time.perf_counter() - started) * 1e3


def main() -> None:
    """Print the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    for name, value in measure(args.model, rounds=args.rounds, threads=args.threads).items():
        print(f"{name:<32}{value}")


if __name__ == "__main__":
    main()
