"""Decode speed with one core busy beside it, against the same on a quiet machine.

The busy core is a process of its own that counts. Reading a prompt is measured in the same way, and how long it
takes until decoding is as fast as before, once the neighbour is gone. Run: python -m evals.speed.busy MODEL
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assistant.engine.events import Done
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions, LoadOptions
from assistant.engine.session import Session

PROMPT = [Message("user", "Write a long story about a lighthouse keeper and his dog.")]
_LONG, _SECONDS = 512, 3.0
"""Tokens of the prompt that is read; how long the neighbour stays, and how long his absence is watched."""


def measure(model: Path, *, tokens: int = 200, rounds: int = 3, threads: int | None = None) -> dict[str, Any]:
    """Measure both in turn, `rounds` times. Speeds in tokens a second, medians; the ratios are of each round."""
    decode: list[tuple[float, float]] = []
    read: list[tuple[float, float]] = []
    back: list[float] = []
    with Session.open(model, LoadOptions(threads=threads)) as session:
        _speed(session, 16)
        for _ in range(rounds):
            quiet = _speed(session, tokens), _reading_speed(session)
            with _busy_core():
                busy = _speed(session, tokens), _reading_speed(session)
            decode.append((busy[0], quiet[0]))
            read.append((busy[1], quiet[1]))
            back.append(_seconds_until_back(session))
        used = session.context.threads
    return {
        **_figures("", decode),
        "target": ">= 0.65; prompts too; back within 2 s",
        **_figures("prompt_", read),
        "back_s": round(statistics.median(back), 2),
        "threads": used,
    }


def _figures(what: str, speeds: list[tuple[float, float]]) -> dict[str, float]:
    return {
        f"{what}busy_tokens_per_s": round(statistics.median(busy for busy, _ in speeds), 1),
        f"{what}quiet_tokens_per_s": round(statistics.median(quiet for _, quiet in speeds), 1),
        f"{what}ratio": round(statistics.median(busy / quiet for busy, quiet in speeds), 3),
    }


def _speed(session: Session, tokens: int) -> float:
    options = GenerateOptions(seed=1, max_tokens=tokens, after_reset="off")
    done = [event for event in session.generate(PROMPT, options) if isinstance(event, Done)][-1]
    return done.tokens_per_s or 0.0


def _reading_speed(session: Session) -> float:
    """Tokens a second of a prompt that is read anew."""
    ids = _some_tokens(session)
    session.memory.forget()
    started = time.perf_counter()
    for _ in session.memory.read(ids):
        pass
    return len(ids) / (time.perf_counter() - started)


def _some_tokens(session: Session) -> list[int]:
    return session.vocabulary.tokenize("The sea is wide and the sky is high. " * _LONG)[:_LONG]


def _seconds_until_back(session: Session) -> float:
    """Seconds from the neighbour's end until eight tokens in a row take what they take at the end."""
    memory, token = session.memory, _some_tokens(session)[0]

    def steps() -> list[tuple[float, float]]:
        started, passed = time.perf_counter(), []
        while (now := time.perf_counter()) - started < _SECONDS and memory.room > 1:
            memory.step(token)
            passed.append((now - started, time.perf_counter() - now))
        return passed

    memory.forget()
    with _busy_core():
        steps()
    after = steps()
    usual = 1.15 * statistics.median(took for _, took in after[-40:])
    for index, (when, _) in enumerate(after):
        if statistics.median(took for _, took in after[index : index + 8]) <= usual:
            return when
    return _SECONDS


@contextmanager
def _busy_core() -> Iterator[None]:
    """A process that keeps one core busy until the end of the block."""
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        child.kill()
        child.wait()


def main() -> None:
    """Print the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    found = measure(args.model, tokens=args.tokens, rounds=args.rounds, threads=args.threads)
    for name, value in found.items():
        print(f"{name:<32}{value}")


if __name__ == "__main__":
    main()
