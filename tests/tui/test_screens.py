"""What the screens beside the chat look like, in two sizes of terminal."""

import time

import pytest

from assistant.conversation.history import History
from assistant.tui.widgets.ask import AskLine
from assistant.tui.widgets.page import Page
from assistant.tui.widgets.suggestions import Suggestions
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


@pytest.mark.parametrize("size", SIZES)
def test_the_keys(snap_compare, start, size) -> None:
    app = start(ScriptedModel())

    async def ask(pilot) -> None:
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, Page))

    assert snap_compare(app, terminal_size=size, run_before=ask)


@pytest.mark.parametrize("size", SIZES)
def test_the_prompt_that_is_sent(snap_compare, start, size) -> None:
    app = start(ScriptedModel(), system="Be brief.")

    async def ask(pilot) -> None:
        await until(pilot, lambda: state(app) == "Ready")
        app.chat._prompt.text = "How do I peel an orange, and what is <|user|> for?"
        app.chat.action_prompt()
        await until(pilot, lambda: isinstance(app.screen, Page))

    assert snap_compare(app, terminal_size=size, run_before=ask)


@pytest.mark.parametrize("size", SIZES)
def test_versions_commands_and_the_meter(snap_compare, start, database, size) -> None:
    with History(database) as history:
        chat, first = history.new_chat("How do I peel a pear?")
        history.say(chat, "How do I peel an orange?", instead_of=first)
        history.settle(history.begin(chat), "With your hands.", reason="length")
    app = start(ScriptedModel(context=40))

    async def write(pilot) -> None:
        await until(pilot, lambda: state(app) == "Ready" and app.chat._meter[0])
        await pilot.press("/")
        await until(pilot, lambda: app.chat.query_one(Suggestions).display)

    assert snap_compare(app, terminal_size=size, run_before=write)


@pytest.mark.parametrize("size", SIZES)
def test_a_question_for_a_title(snap_compare, start, chats, size) -> None:
    app = start(ScriptedModel())

    async def ask(pilot) -> None:
        await until(pilot, lambda: state(app) == "Ready" and app.chat._meter[0])
        await app.chat.action_rename()
        await until(pilot, lambda: isinstance(app.screen, AskLine))

    assert snap_compare(app, terminal_size=size, run_before=ask)
