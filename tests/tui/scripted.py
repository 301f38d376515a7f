"""A model of a few lines that says what a test tells it to, and a record of every frame that was painted."""

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

from rich.cells import cell_len
from textual.app import App
from textual.pilot import Pilot

from assistant.engine.events import Done, Event, Reset, Text
from assistant.tui.widgets.transcript import Transcript

PATIENCE = 120
"""Seconds to wait for what should come at once: other programs may have taken the processor."""


def text(words: str) -> Text:
    return Text(words)


def reset(shown: int) -> Reset:
    return Reset(discarded_tokens=9, shown_chars=shown, shown_prefill_chars=0, rewind_ms=1.0)


def done(words: str, reason="stop", resets=0, ids=(7, 8)) -> Done:
    return Done(reason, words, len(ids), 0, resets, 20.0, 12.5, ids)


class ScriptedModel:
    """Plays one script a reply; a threading.Event in a script is waited for, or a cancel instead."""

    def __init__(self, *scripts: list[Event | threading.Event], takes_back=True, note=None, context=4096):
        contract = object() if takes_back else None
        self.info = SimpleNamespace(
            name="Scripted", context_length=context, contract=contract, note=note, vocab_sha256="v"
        )
        self.scripts = list(scripts)
        self.asked = []
        self.options = []
        self.closed = False
        self.held = 0
        self._cancelled = threading.Event()

    def generate(self, messages, options=None) -> Iterator[Event]:
        self.asked.append(list(messages))
        self.options.append(options)
        self._cancelled.clear()
        shown = ""
        for step in self.scripts.pop(0):
            if isinstance(step, threading.Event):
                while not step.wait(0.005) and not self._cancelled.is_set():
                    pass
                if self._cancelled.is_set():
                    yield done(shown, "cancelled")
                    return
                continue
            if isinstance(step, Text):
                shown += step.text
            elif isinstance(step, Reset):
                shown = ""
            yield step

    def count_tokens(self, messages) -> int:
        return sum(len(message.content.split()) for message in messages)

    def prompt_parts(self, messages) -> list[tuple[str, bool]]:
        parts = [
            part for message in messages for part in ((f"<|{message.role}|>", True), (message.content, False))
        ]
        return [*parts, ("<|assistant|>", True)]

    def cancel(self) -> None:
        self._cancelled.set()

    def close(self) -> None:
        self.closed = True


class Frames:
    """What a terminal would show after each paint: the very bytes are taken, not the widgets' state."""

    _PART = re.compile(r"\x1b\[(?P<row>\d+);(?P<column>\d+)H|\x1b\[[^a-zA-Z]*[a-zA-Z]|(?P<text>[^\x1b]+)")

    def __init__(self, app: App) -> None:
        self.frames: list[str] = []
        self._app = app
        self._cells: dict[tuple[int, int], str] = {}
        self._display = app._display
        app._display = self._record

    def _record(self, screen, renderable) -> None:
        self._display(screen, renderable)
        if renderable is None or self._app._batch_count or not hasattr(renderable, "render_segments"):
            return
        row = column = 0
        for part in self._PART.finditer(renderable.render_segments(self._app.console)):
            if part["row"]:
                row, column = int(part["row"]) - 1, int(part["column"]) - 1
            for character in (part["text"] or "").replace("\n", ""):
                self._cells[row, column] = character
                column += cell_len(character)
        self.frames.append(self.screen())

    def screen(self) -> str:
        width, height = self._app.size
        rows = ("".join(self._cells.get((y, x), " ") for x in range(width)).rstrip() for y in range(height))
        return "\n".join(rows)

    def __len__(self) -> int:
        return len(self.frames)


async def until(pilot: Pilot, condition: Callable[[], object]) -> None:
    """Let the program run until something is so and has been painted."""
    await happened(pilot, condition)
    await painted(pilot)


async def happened(pilot: Pilot, condition: Callable[[], object]) -> None:
    """Let the program run until something is so."""
    end = time.monotonic() + PATIENCE
    # Not pilot.pause: it waits for a quiet processor, which a model that writes does not give.
    while not condition():
        if time.monotonic() > end:
            rows = (strip.text.rstrip() for strip in pilot.app.screen._compositor.render_strips())
            raise AssertionError("\n".join([f"it did not happen within {PATIENCE} s; the screen:", *rows]))
        await asyncio.sleep(0.01)


async def painted(pilot: Pilot) -> None:
    """Wait until all that is so now is on the screen, and what waited for that is done."""
    for pump in (*pilot.app.screen.query(Transcript), pilot.app.screen):
        done = asyncio.Event()
        if pump.call_after_refresh(done.set):  # not where the program is ending
            await asyncio.wait_for(done.wait(), PATIENCE)
    await asyncio.sleep(0.05)
