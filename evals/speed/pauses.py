"""The longest pause of the chat's event loop while a reply streams into 500 messages, against 50 ms.

The chat runs in a pseudo-terminal; in place of a model is one that says 100 tokens a second of Markdown. Measured
is from the first token until the reply is settled, with a reader at the end, and with one who reads back
meanwhile. Beside each pause stands the processor's time of the loop's own thread in the longest, which other
programs do not lengthen. Run: python -m evals.speed.pauses
"""

import argparse
import asyncio
import gc
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from assistant.conversation.history import History
from assistant.engine.events import Done, Event, Start, Text
from assistant.engine.message import Message
from evals.pseudo_terminal import running

LIMIT_MS = 50
MESSAGES = 500
TOKENS_PER_S = 100
BEAT = 0.002
SIZES = ((80, 24), (200, 60))
PAGE_UP, ENTER, QUIT = b"\x1b[5~", b"\r", b"\x11"

MEASURED = "All pauses are written down."

PARAGRAPH = (
    "The *keeper* lights the lamp at dusk, and the `lens` turns it into a beam that is seen far away.\n\n"
)
REPLY = f"""## The lighthouse

{PARAGRAPH}- the lamp, which was once of oil and is now a bulb no larger than a thumb
- the lens, of **many** prisms
  1. the upper ones
  2. the lower ones

```python
def turn(lens: Lens, seconds: float) -> float:
    return 360 * seconds / lens.period
```

| part | made in |
|---|---|
| lamp | 1890 |
| lens | 1911 |

> It was never dark again.

{PARAGRAPH * 3}"""


def measure(
    model: Path | None = None, *, threads: int | None = None, seconds: float = 20.0, messages: int = MESSAGES
) -> dict[str, Any]:
    """Measure each size of terminal and each reader. Milliseconds; neither a model nor threads are asked for.

    Raises:
        TakebackError: there are no pseudo-terminals here, or the chat fails.
    """
    rows = []
    for size in SIZES:
        for reads_back in (False, True):
            both = _pauses(size, reads_back, seconds, messages)
            pauses = [pause * 1e3 for pause, _ in both]
            rows.append(
                {
                    "size": f"{size[0]}x{size[1]}",
                    "reader": "reads back" if reads_back else "at the end",
                    "p99_ms": round(statistics.quantiles(pauses, n=100)[98], 1),
                    "longest_ms": round(max(pauses), 1),
                    "longest_cpu_ms": round(max(cpu for _, cpu in both) * 1e3, 1),
                    "ratio": round(max(pauses) / LIMIT_MS, 2),
                }
            )
    return {"rows": rows, "ratio": max(row["ratio"] for row in rows), "target": f"<= 1, {LIMIT_MS} ms"}


def _pauses(
    size: tuple[int, int], reads_back: bool, seconds: float, messages: int
) -> list[tuple[float, float]]:
    """How long the event loop took each time to come back, and its processor's time then, in seconds."""
    with tempfile.TemporaryDirectory(prefix="takeback-bench-") as home:
        _fill(Path(home) / "history.db", messages)
        command = [sys.executable, "-m", "evals.speed.pauses", "--inside", home, "--seconds", str(seconds)]
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"TERM": "xterm-256color", "PYTHONPATH": path}
        with running(command, environment, size) as terminal:
            terminal.wait_for("Ready")
            terminal.drain(1.0)
            terminal.press(b"hello" + ENTER)
            for _ in range(int(seconds * 5)):
                terminal.drain(0.2)
                if reads_back:
                    terminal.press(PAGE_UP)
            terminal.drain(3.0)
            terminal.press(QUIT)
            terminal.wait_for(MEASURED)
        pauses: list[tuple[float, float]] = json.loads((Path(home) / "pauses.json").read_text())
        return pauses


def _fill(database: Path, messages: int) -> None:
    with History(database) as history:
        chat, _ = history.new_chat("What is a lighthouse?")
        for _ in range(messages // 2):
            history.settle(history.begin(chat), REPLY, reason="stop")
            history.say(chat, "And how does it work?\n\nI would like to know.")


# Inside the terminal


class _Stream:
    """A model that says so many tokens a second of Markdown, for so many seconds."""

    held = 0

    def __init__(self, seconds: float) -> None:
        self.info = SimpleNamespace(
            name="stream", context_length=4096, contract=object(), note=None, vocab_sha256="v"
        )
        self.times: list[float] = []
        """When the first token was said, and when the reply was over."""
        self._seconds = seconds
        self._stopped = threading.Event()

    def generate(self, messages: Sequence[Message], options: object = None) -> Iterator[Event]:
        yield Start("stream", 1, 0, True)
        tokens = [REPLY[place : place + 5] for place in range(0, len(REPLY), 5)]
        said: list[str] = []
        begun = time.perf_counter()
        for number in range(int(self._seconds * TOKENS_PER_S)):
            if self._stopped.wait(max(0, begun + number / TOKENS_PER_S - time.perf_counter())):
                break
            said.append(tokens[number % len(tokens)])
            yield Text(said[-1])
        self.times = [begun, time.perf_counter()]
        yield Done("stop", "".join(said), len(said), 0, 0, 1.0, float(TOKENS_PER_S))

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return 5 * len(messages)

    def prompt_parts(self, messages: Sequence[Message]) -> list[tuple[str, bool]]:
        return []

    def cancel(self) -> None:
        self._stopped.set()

    def close(self) -> None: ...


def _inside(home: Path, seconds: float) -> None:
    """Run the chat, and write down the pauses of its event loop."""
    from assistant.tui.app import ChatApp  # noqa: PLC0415 - in its own process only

    model = _Stream(seconds)
    beats: list[tuple[float, float]] = []

    async def beat() -> None:
        while True:
            beats.append((time.perf_counter(), time.thread_time()))
            await asyncio.sleep(BEAT)

    def load(progress: object) -> _Stream:
        gc.freeze()  # as the real one does
        app.call_from_thread(lambda: beating.append(asyncio.create_task(beat())))
        return model

    beating: list[asyncio.Task[None]] = []
    app = ChatApp(load, home / "history.db")
    app.run()
    app.chat.end()
    begun, over = model.times
    during = [
        beat for beat in beats if begun <= beat[0] <= over + 1.0
    ]  # a second for the reply to be settled
    pauses = [(after - before - BEAT, cpu - cpu_before)
              for (before, cpu_before), (after, cpu) in pairwise(during)]  # fmt: skip
    (home / "pauses.json").write_text(json.dumps(pauses))
    print(MEASURED)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        _inside(args.inside, args.seconds)
        return
    for row in measure(seconds=args.seconds)["rows"]:
        print("   ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
