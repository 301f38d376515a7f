"""What the screens beside the chat look like, in two sizes of terminal."""

import time

import pytest

from assistant.conversation.history import History
from tests.tui.conftest import state
from tests.tui.scripted import ScriptedModel, until
from tests.tui.test_chats import listed

SIZES = [(80, 24), (40, 12)]


@pytest.fixture(autouse=True)
def one_time_zone(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def chats(database) -> None:
    titles = (
        "How do I peel an orange?",
        "A name for a boat that is not too long, and not too short",
        "Pears",
    )
    with History(database) as history:
        for number, title in enumerate(titles):
            chat, _ = history.new_chat(title)
            history.settle(history.begin(chat), f"Think of oranges, number {number}.", reason="stop")
            history._database.execute("UPDATE chats SET updated = ?", (1.7e9 + chat,))


@pytest.mark.parametrize("size", SIZES)
def test_the_list_of_chats(snap_compare, start, chats, size) -> None:
    app = start(ScriptedModel())

    async def find(pilot) -> None:
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("ctrl+o")
        await until(pilot, lambda: len(listed(app)) == 3)
        await pilot.press(*"orange")
        await until(pilot, lambda: len(listed(app)) == 5)
        await pilot.press("down")

    assert snap_compare(app, terminal_size=size, run_before=find)
