"""From the start of the chat's program to its first frame in a terminal, against 0.8 s.

The frame is there when its last line is; the model loads behind it, and the chat to show is one of 500 messages.
Beside it stands the processor's time that the program had used by then, which other programs do not lengthen.
Run: python -m evals.speed.paint MODEL
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from assistant.conversation.history import History
from evals.pseudo_terminal import running

SECONDS = 0.8
CHAT = "import sys; from assistant.cli import main; sys.exit(main(sys.argv[1:]))"
"""What the installed command does."""
LAST_WORDS = "Starting…"
"""Of the first frame, in the line at its bottom."""
QUIT, GONE = b"\x11", "\x1b[?1049l"


def measure(model: Path, *, threads: int | None = None, rounds: int = 7) -> dict[str, Any]:
    """Start the chat `rounds` times. Seconds from the start of the process to its first frame.

    Raises:
        TakebackError: there are no pseudo-terminals here, or nothing is painted.
    """
    with tempfile.TemporaryDirectory(prefix="takeback-bench-") as home:
        with History(Path(home) / "history.db") as history:
            chat, _ = history.new_chat("message 0")
            for number in range(1, 500):
                history.say(chat, f"message {number}")
        words = ["--model", str(model), *(["--threads", str(threads)] if threads else [])]
        both = [first_frame(words, Path(home)) for _ in range(rounds + 1)][1:]  # the first reads the disk
    seconds = [wall for wall, _ in both]
    median = statistics.median(seconds)
    return {
        "first_frame_s": round(median, 3),
        "slowest_s": round(max(seconds), 3),
        "cpu_s": round(statistics.median(cpu for _, cpu in both), 2),
        "ratio": round(median / SECONDS, 3),
        "target": f"<= 1, {SECONDS} s",
    }


def first_frame(words: list[str], home: Path) -> tuple[float, float]:
    """Start the chat, quit it, and return the seconds to its first frame, and of the processor's time till then.

    Raises:
        TakebackError: there are no pseudo-terminals here, or nothing is painted.
    """
    environment = os.environ | {"TAKEBACK_HOME": str(home), "TERM": "xterm-256color"}
    begun = time.perf_counter()
    with running([sys.executable, "-c", CHAT, *words], environment) as terminal:
        terminal.wait_for(LAST_WORDS)
        seconds, cpu = time.perf_counter() - begun, terminal.cpu_seconds
        terminal.press(QUIT)
        terminal.wait_for(GONE)
        return seconds, cpu


def main() -> None:
    """Print the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    for name, value in measure(args.model, rounds=args.rounds).items():
        print(f"{name:<24}{value}")


if __name__ == "__main__":
    main()
