"""What the chat looks like, in terminals of three sizes."""

import threading

import pytest

from assistant.conversation.history import History
from assistant.tui.paging import BELOW
from tests.tui.conftest import say, state
from tests.tui.scripted import ScriptedModel, done, reset, text, until

SIZES = [(80, 24), (40, 12), (200, 60)]

REPLY = """Oranges are **citrus** fruits:

- *Navel* oranges, which have no seeds, and whose name comes from the small second fruit at their end
- blood oranges
  1. Moro
  2. Tarocco

```python
def peel(orange: Orange) -> list[str]:
    return [part for part in orange.segments if part.sweet]
```

| kind | season | where it is mostly grown |
|---|---|---|
| navel | winter | California |
| valencia | summer | Florida |

> Eat one a day: [the book](https://example.org/oranges) says so."""


@pytest.mark.parametrize("size", SIZES)
def test_an_empty_chat(snap_compare, start, size) -> None:
    app = start(ScriptedModel())

    async def ready(pilot) -> None:
        await until(pilot, lambda: state(app) == "Ready")

    assert snap_compare(app, terminal_size=size, run_before=ready)


@pytest.mark.parametrize("size", SIZES)
def test_a_settled_chat(snap_compare, start, size) -> None:
    app = start(ScriptedModel([text(REPLY), done(REPLY)]))

    async def talk(pilot) -> None:
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press(*"oranges?", "enter")
        await until(pilot, lambda: "tokens/s" in state(app))

    assert snap_compare(app, terminal_size=size, run_before=talk)


@pytest.mark.parametrize("size", SIZES)
def test_a_reply_that_was_taken_back(snap_compare, start, size) -> None:
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

    assert snap_compare(app, terminal_size=size, run_before=talk)


@pytest.mark.parametrize("size", SIZES)
def test_a_reader_who_looks_back_in_a_full_context(snap_compare, start, database, size) -> None:
    with History(database) as history:
        chat, _ = history.new_chat("How do I peel an orange?")
        for number in range(20):
            reply, reason = ("", "reset_limit") if number == 15 else (f"With **{number}** hands.", "length")
            history.settle(history.begin(chat), reply, reason=reason, resets=4, shown_resets=number % 3)
            history.say(chat, "And how do I peel a pear, or an apple?")
    app = start(ScriptedModel(context=80))

    async def look_back(pilot) -> None:
        await until(pilot, lambda: state(app) == "Ready" and app.chat.query(".boundary"))
        await pilot.press("pageup")
        transcript, line = app.chat._transcript, app.chat.query_one(".boundary")
        place = min(line.virtual_region.y - size[1] // 3, transcript.max_scroll_y - 2)
        transcript.scroll_to(y=place, animate=False)
        await until(pilot, lambda: BELOW in str(app.chat._prompt.border_subtitle))

    assert snap_compare(app, terminal_size=size, run_before=look_back)


@pytest.mark.parametrize("size", [(80, 24)])
def test_a_draft_that_was_asked_for(snap_compare, start, size) -> None:
    draft = "This is what was taken back.\n\nIt goes on here, on a line that is too long for a terminal of eighty."
    taken_back = reset(9)
    object.__setattr__(taken_back, "discarded", draft)
    app = start(ScriptedModel([text("This is"), taken_back, text("No."), done("No.", resets=1)]))

    async def look(pilot) -> None:
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "something")
        await until(pilot, lambda: "tokens/s" in state(app))
        app.screen.query_one("Draft").focus()
        await pilot.press("enter")

    assert snap_compare(app, terminal_size=size, run_before=look)
