"""Apps on a store of their own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from assistant.tui.app import ChatApp
from assistant.tui.chat import ChatScreen


@pytest.fixture(autouse=True)
def no_theme_of_the_machine(monkeypatch) -> None:
    monkeypatch.delenv("TEXTUAL_THEME", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)


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
