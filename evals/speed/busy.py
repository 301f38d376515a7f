"""Decode speed with one core busy beside it, against the same on a quiet machine.

The busy core is a process of its own that counts. Run: python -m evals.speed.busy MODEL
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assistant.engine.events import Done
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions, LoadOptions
from assistant.engine.session import Session

PROMPT = [Message("user", "Write a long story about a lighthouse keeper and his dog.")]


def measure(model: Path, *, tokens: int = 200, rounds: int = 3, threads: int | None = None) -> dict[str, Any]:
    """Measure both in turn, `rounds` times. Speeds in tokens a second, medians."""
    quiet: list[float] = []
    busy: list[float] = []
    with Session.open(model, LoadOptions(threads=threads)) as session:
        _speed(session, 16)
        for _ in range(rounds):
            quiet.append(_speed(session, tokens))
            with _busy_core():
                busy.append(_speed(session, tokens))
        used = session.context.threads
    return {
        "busy_tokens_per_s": round(statistics.median(busy), 1),
        "quiet_tokens_per_s": round(statistics.median(quiet), 1),
        "ratio": round(statistics.median(busy) / statistics.median(quiet), 3),
        "target": ">= 0.65",
        "threads": used,
    }


def _speed(session: Session, tokens: int) -> float:
    options = GenerateOptions(seed=1, max_tokens=tokens, after_reset="off")
    done = [event for event in session.generate(PROMPT, options) if isinstance(event, Done)][-1]
    return done.tokens_per_s or 0.0


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
