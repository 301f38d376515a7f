"""Apps on a store of their own."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from assistant.conversation.history import History
from assistant.tui import chat
from assistant.tui.app import ChatApp
from assistant.tui.chat import ChatScreen
from assistant.tui.widgets.prompt import Prompt
from convert.errors import TakebackError
from tests.tui.scripted import PATIENCE


@pytest.fixture(autouse=True)
def no_theme_of_the_machine(monkeypatch) -> None:
    monkeypatch.delenv("TEXTUAL_THEME", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture(autouse=True)
def no_clipboard_of_the_machine(monkeypatch) -> None:
    monkeypatch.setattr("assistant.tui.app.copy_with_tool", lambda text: None)


@pytest.fixture(autouse=True)
def time_to_end(monkeypatch) -> None:
    monkeypatch.setattr(chat, "SECONDS_TO_END", PATIENCE)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
def start(database: Path, request) -> Callable[..., ChatApp]:
    """Makes an app whose model is given; its thread and store are closed after the test."""

    def make(model, **options) -> ChatApp:
        load = model if callable(model) else lambda progress: model
        app = ChatApp(load, database, **options)
        request.addfinalizer(app.chat.end)
        return app

    return make


def state(app: ChatApp) -> str:
    """What the status line says."""
    screen = app.screen
    assert isinstance(screen, ChatScreen)
    return str(screen.query_one("#state").render())


def stored(database, chat: int = 1) -> list[tuple[str, str, str]]:
    """Role, text and reason of a chat's messages."""
    with History(database) as history:
        return [(entry.role, entry.text, entry.reason) for entry in history.entries(chat)]


async def say(pilot, words: str) -> None:
    """Write a message and send it."""
    pilot.app.screen.query_one(Prompt).text = words
    await pilot.press("enter")


def fail(*arguments, **options):
    """Take the place of a method of the store that fails."""
    raise TakebackError("the disk [is] broken")


class Gate:
    """Holds up a call of the store, off the screen's thread, until it may go on."""

    def __init__(self, monkeypatch, name: str) -> None:
        self.entered, self.go_on = threading.Event(), threading.Event()
        call = getattr(History, name)

        def held(*arguments, **options):
            self.entered.set()
            assert self.go_on.wait(PATIENCE)
            return call(*arguments, **options)

        monkeypatch.setattr(History, name, held)
