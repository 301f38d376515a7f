"""What the screens around the chat look like, in three sizes of terminal, and the chat in other colours."""

import logging
from pathlib import Path

import pytest

from assistant.conversation.history import History
from assistant.tui import logbook
from assistant.tui.log_page import LogPage
from assistant.tui.widgets.ask_link import AskLink
from assistant.tui.widgets.choose import Choose
from tests.tui.conftest import state
from tests.tui.scripted import ScriptedModel, painted, until
from tests.tui.test_looks import REPLY

SIZES = [(80, 24), (40, 12), (200, 60)]


@pytest.fixture(autouse=True)
def chat(database) -> None:
    with History(database) as history:
        number, _ = history.new_chat("What are oranges?")
        text = f"{REPLY}\n\n```\npeel(orange)\n```\n\nSee [the docs](https://example.com/oranges)."
        history.settle(history.begin(number), text, reason="length", resets=1, shown_resets=1)


async def ready(pilot) -> None:
    await until(pilot, lambda: state(pilot.app) == "Ready" and pilot.app.chat._meter[0])


@pytest.mark.parametrize("size", SIZES)
def test_a_link_that_is_asked_about(snap_compare, start, size) -> None:
    app = start(ScriptedModel())

    async def ask(pilot) -> None:
        await ready(pilot)
        app.chat.ask_about("https://bank.example.com@evil.example.org/login?" + "session=0123456789&" * 6)
        await until(pilot, lambda: isinstance(app.screen, AskLink))

    assert snap_compare(app, terminal_size=size, run_before=ask)


@pytest.mark.parametrize("size", SIZES)
def test_blocks_of_code_to_choose_from(snap_compare, start, size) -> None:
    app = start(ScriptedModel())

    async def ask(pilot) -> None:
        await ready(pilot)
        await app.chat.action_copy_code()
        await until(pilot, lambda: isinstance(app.screen, Choose))

    assert snap_compare(app, terminal_size=size, run_before=ask)


@pytest.mark.parametrize("size", SIZES)
def test_the_log(snap_compare, start, size, monkeypatch) -> None:
    monkeypatch.setattr(logging.Formatter, "formatTime", lambda *arguments: "2026-01-02 03:04:05")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("HOME", "/home/you")
    logbook._KEPT.lines.clear()
    app = start(ScriptedModel())
    app.chat.log_file = Path("/home/you/.local/share/takeback/takeback.log")

    async def look(pilot) -> None:
        await ready(pilot)
        logbook.LOG.warning("something [b]odd[/b] was seen, and it takes a line that is longer than most")
        logbook.LOG.error("the disk is full")
        await pilot.press("ctrl+l")
        await until(pilot, lambda: isinstance(app.screen, LogPage))

    assert snap_compare(app, terminal_size=size, run_before=look)


@pytest.mark.parametrize("theme", ["light", "terminal-dark", "without colours"])
def test_a_message_with_the_focus_in_other_colours(snap_compare, start, theme, monkeypatch) -> None:
    if theme == "without colours":
        monkeypatch.setenv("NO_COLOR", "1")
    app = start(ScriptedModel(), theme=theme)

    async def focus(pilot) -> None:
        await ready(pilot)
        await pilot.press("shift+tab")
        await painted(pilot)

    assert snap_compare(app, terminal_size=(80, 24), run_before=focus)
