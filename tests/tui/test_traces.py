"""Nothing of a draft that was shown and taken back remains: not in a file, not in a living object."""

import gc
import threading
import tracemalloc
import types

from assistant.conversation import recording
from assistant.engine.events import Text
from tests.tui.conftest import state
from tests.tui.scripted import PATIENCE, Frames, ScriptedModel, done, reset, text, until

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


def draft() -> Text:
    return text(f"{CANARY} in a draft.\n\n- {CANARY} one\n- two\n\n```python\n{CANARY} = 1\n```\n\nlast")


def files_with_canary(database) -> list[str]:
    files = [path for path in database.parent.rglob("*") if path.is_file()]
    return [path.name for path in files if CANARY.encode() in path.read_bytes()]


async def test_no_file_and_no_living_object_holds_a_draft_that_was_shown(
    start, database, monkeypatch
) -> None:
    monkeypatch.setattr(recording, "SECONDS_BETWEEN_WRITES", 0.0)
    shown, taken_back, more, end = (threading.Event() for _ in range(4))

    def script():
        yield text("I say the word ")
        yield draft()
        assert shown.wait(PATIENCE)
        yield reset(60)
        taken_back.set()  # the screen was told and the store has done its part, or this would not be reached
        assert more.wait(PATIENCE)
        yield text("Better.")
        assert end.wait(PATIENCE)
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
        await until(pilot, lambda: taken_back.is_set() and not frames.has_canary)
        assert files_with_canary(database) == []
        assert living_strings() == []
        more.set()
        await until(pilot, lambda: "Better." in frames.screen())
        assert files_with_canary(database) == []
        assert living_strings() == []
        end.set()
        await until(pilot, lambda: "tokens/s" in state(app))
    assert app.chat.end()
    assert CANARY.encode() not in database.read_bytes()


async def test_a_draft_that_is_taken_back_after_the_user_left_it_leaves_nothing(
    start, database, monkeypatch
) -> None:
    monkeypatch.setattr(recording, "SECONDS_BETWEEN_WRITES", 0.0)
    left, ended = threading.Event(), threading.Event()

    def script():
        yield draft()
        assert left.wait(PATIENCE)
        yield reset(60)
        yield done("", "cancelled", resets=1, ids=())
        ended.set()

    model = ScriptedModel()
    model.generate = lambda messages, options=None: script()
    app = start(model)
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Told(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("h", "i", "enter")
        await until(pilot, lambda: frames.has_canary)
        await pilot.press("ctrl+n")
        await until(pilot, lambda: "A chat with a model" in frames.screen())
        left.set()
        await until(pilot, ended.is_set)
        assert not frames.has_canary
        assert files_with_canary(database) == []
        assert living_strings() == []
