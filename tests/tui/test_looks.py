"""What the chat looks like, in a terminal of 80 by 24."""

import threading

from tests.tui.conftest import state
from tests.tui.scripted import ScriptedModel, done, reset, text, until

REPLY = """Oranges are **citrus** fruits:

- *Navel* oranges, which have no seeds, and whose name comes from the small second fruit at their end
- blood oranges

```python
def peel(orange):
    return orange.segments
```"""


def test_an_empty_chat(snap_compare, start) -> None:
    app = start(ScriptedModel())

    async def ready(pilot) -> None:
        await until(pilot, lambda: state(app) == "Ready")

    assert snap_compare(app, terminal_size=(80, 24), run_before=ready)


def test_a_settled_chat(snap_compare, start) -> None:
    app = start(ScriptedModel([text(REPLY), done(REPLY)]))

    async def talk(pilot) -> None:
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press(*"oranges?", "enter")
        await until(pilot, lambda: "tokens/s" in state(app))

    assert snap_compare(app, terminal_size=(80, 24), run_before=talk)


def test_a_reply_that_was_taken_back(snap_compare, start) -> None:
    first, end = threading.Event(), threading.Event()
    draft = "\n\n".join(["This is what should not be read."] * 3)
    script = [text(draft), first, reset(len(draft)), text("I would rather not."), end, done("")]
    app = start(ScriptedModel(script))

    async def talk(pilot) -> None:
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press(*"something", "enter")
        await until(pilot, lambda: state(app) == "Writing…")
        first.set()
        transcript = app.screen._transcript
        await until(pilot, lambda: transcript.live.shown_resets and state(app) == "Writing…")
        await pilot.pause(0.2)

    assert snap_compare(app, terminal_size=(80, 24), run_before=talk)
