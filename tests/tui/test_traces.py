"""Nothing of a draft that was shown and taken back remains: not in a file, not in a living object."""

import gc
import threading
import tracemalloc
import types

from assistant.conversation import recording
from tests.tui.conftest import state
from tests.tui.scripted import Frames, ScriptedModel, done, reset, text, until

CANARY = bytes([113, 117, 97, 103, 103, 97]).decode()  # so that the word is not among this file's constants


class Told(Frames):
    """Knows of a frame only what is asked of it, so that the test itself keeps no draft."""

    @property
    def has_canary(self) -> bool:
        found = CANARY in self.screen()
        self.frames.clear()
        return found


def living_strings() -> list[str]:
    """Every string that a living object holds and that has the canary in it, but the canary itself."""
    gc.collect()
    found: list[str] = []
    seen: set[int] = set()
    waiting: list[object] = gc.get_objects()
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, types.FrameType):
            continue
        seen.add(id(thing))
        if isinstance(thing, str | bytes):
            word = CANARY if isinstance(thing, str) else CANARY.encode()
            if word in thing and thing is not CANARY and len(thing) > len(CANARY):
                found.append(repr(thing))
        elif not isinstance(thing, type(tracemalloc)):
            waiting += gc.get_referents(thing)
    return found


async def test_no_file_and_no_living_object_holds_a_draft_that_was_shown(
    start, database, monkeypatch
) -> None:
    monkeypatch.setattr(recording, "SECONDS_BETWEEN_WRITES", 0.0)
    shown, end = threading.Event(), threading.Event()

    def script():
        yield text("I say the word ")
        yield text(f"{CANARY} in a draft.\n\n- {CANARY} one\n- two\n\n```python\n{CANARY} = 1\n```\n\nlast")
        assert shown.wait(20)
        yield reset(60)
        yield text("Better.")
        assert end.wait(20)
        yield done("Better.", resets=1)

    model = ScriptedModel()
    model.generate = lambda messages, options=None: script()
    app = start(model)
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Told(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("h", "i", "enter")
        await until(pilot, lambda: frames.has_canary)
        files = list(database.parent.glob("history.db*"))
        await until(pilot, lambda: any(CANARY.encode() in path.read_bytes() for path in files))
        shown.set()
        await until(pilot, lambda: not frames.has_canary)
        await pilot.pause(0.1)
        assert not [path.name for path in database.parent.rglob("*")
                    if path.is_file() and CANARY.encode() in path.read_bytes()]  # fmt: skip
        assert living_strings() == []
        end.set()
        await until(pilot, lambda: "tokens/s" in state(app))
    assert app.chat.end()
    assert CANARY.encode() not in database.read_bytes()
