"""The list of chats: found, opened, renamed, deleted and brought back, by the keys and by the palette."""

import threading

from textual import events
from textual.widgets import Input, OptionList

from assistant.conversation.history import History
from assistant.tui import chats
from assistant.tui.chats import ChatsScreen
from assistant.tui.widgets.ask import AskLine
from assistant.tui.widgets.message import MessageView
from assistant.tui.widgets.transcript import Transcript
from tests.tui.conftest import fail, state
from tests.tui.scripted import Frames, ScriptedModel, done, text, until


def three_chats(database) -> None:
    with History(database) as history:
        for words in ("about oranges", "about [b]boats[/x]\x1b[31m", "about pears"):
            chat, _ = history.new_chat(words)
            history.settle(history.begin(chat), f"a reply {words}", reason="stop")


def listed(app) -> list[str]:
    options = app.screen.query_one(OptionList)
    return [str(options.get_option_at_index(n).prompt).split("  ", 1)[1] for n in range(options.option_count)]


async def opened(pilot) -> None:
    await until(pilot, lambda: state(pilot.app) == "Ready")
    await pilot.press("ctrl+o")
    await until(pilot, lambda: isinstance(pilot.app.screen, ChatsScreen) and listed(pilot.app))


async def test_a_chat_is_opened_from_the_list(start, database) -> None:
    three_chats(database)
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await opened(pilot)
        mark = "\N{REPLACEMENT CHARACTER}"
        assert listed(app) == ["about pears", f"about [b]boats[/x]{mark}[31m", "about oranges"]
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: "a reply about oranges" in frames.screen())
        assert app.focused is app.chat._prompt
        assert "pears" not in frames.screen()


async def test_a_search_goes_to_the_message_that_was_found(start, database) -> None:
    three_chats(database)
    with History(database) as history:
        chat, _ = history.new_chat("a long chat")
        for number in range(80):
            history.say(chat, f"message {number} {'needle' if number == 7 else ''}")
        history.new_chat("the last one")
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press(*"needl")
        await until(pilot, lambda: len(listed(app)) == 1)
        assert "message 7 [needle]" in listed(app)[0]
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.focused, MessageView))
        transcript = app.screen.query_one(Transcript)
        await until(pilot, lambda: 0 < app.focused.region.y < 20)
        assert "needle" in app.focused._parts[1].plain
        assert not transcript.following
        await pilot.press("escape")
        assert app.focused is app.chat._prompt


async def test_words_that_nothing_has_and_titles_are_found_too(start, database) -> None:
    three_chats(database)
    with History(database) as history:
        history.rename(1, "Fruit [of] the day")
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        app.screen.query_one(Input).value = "[OF] fruit"
        await until(pilot, lambda: listed(app) == ["Fruit [of] the day"])
        app.screen.query_one(Input).value = "nothing has this"
        await until(pilot, lambda: listed(app) == [])
        assert "No chat has all of these words" in str(app.screen.query_one("#said").render())
        await pilot.press("enter", "down", "f2", "ctrl+d", "ctrl+z")
        await until(pilot, lambda: "Nothing was deleted" in str(app.screen.query_one("#said").render()))


async def test_rename_from_the_list_and_by_the_command(start, database) -> None:
    three_chats(database)
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        await pilot.press("down", "f2")
        await until(pilot, lambda: isinstance(app.screen, AskLine))
        app.screen.query_one(Input).value = "Boats"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChatsScreen) and "Boats" in listed(app))
        assert listed(app) == ["about pears", "Boats", "about oranges"]
        await pilot.press("escape")
        await app.chat.action_rename()
        await until(pilot, lambda: isinstance(app.screen, AskLine))
        assert app.screen.query_one(Input).value == "about pears"
        await pilot.press("end", *"!", "enter")
        await until(pilot, lambda: state(app) == "Renamed")
    assert app.chat.end()
    with History(database) as history:
        assert [chat.title for chat in history.chats()] == ["about pears!", "Boats", "about oranges"]


async def test_delete_can_be_undone_and_is_final_in_the_end(start, database) -> None:
    three_chats(database)
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await opened(pilot)
        await pilot.press("ctrl+d")
        await until(pilot, lambda: len(listed(app)) == 2)
        await pilot.press("ctrl+d")
        await until(pilot, lambda: listed(app) == ["about oranges"])
        await pilot.press("ctrl+z")
        await until(pilot, lambda: len(listed(app)) == 2)
        await pilot.press("escape")
        await until(pilot, lambda: "A chat with a model" in frames.screen())  # the one shown was deleted
        assert app.chat._chat is None
    assert app.chat.end()
    assert b"pears" not in database.read_bytes()
    with History(database) as history:
        assert [chat.id for chat in history.chats()] == [2, 1]


async def test_opening_another_chat_stops_a_reply_and_keeps_it(start, database) -> None:
    three_chats(database)
    app = start(ScriptedModel([text("Half"), threading.Event()]))
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("a", "enter")
        await until(pilot, lambda: "Half" in frames.screen())
        await pilot.press("ctrl+o")
        await until(pilot, lambda: isinstance(app.screen, ChatsScreen) and listed(app))
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: "oranges" in frames.screen() and "Half" not in frames.screen())
    assert app.chat.end()
    with History(database) as history:
        assert (history.entries(3)[-1].text, history.entries(3)[-1].reason) == ("Half", "cancelled")


async def test_opening_the_chat_that_is_shown_lets_its_reply_go_on(start, database) -> None:
    end = threading.Event()
    app = start(ScriptedModel([text("Half"), end, text(" and all."), done("Half and all.")]))
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press(*"hi", "enter")
        await until(pilot, lambda: "Half" in frames.screen())
        await pilot.press("ctrl+o")
        await until(pilot, lambda: isinstance(app.screen, ChatsScreen) and listed(app))
        await pilot.press(*"hi")
        await until(pilot, lambda: "hi" in app.screen.query_one(Input).value and len(listed(app)) == 2)
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.focused, MessageView))
        end.set()
        await until(pilot, lambda: "Half and all." in frames.screen())


async def test_a_store_that_fails_is_told_in_the_list(start, database, monkeypatch) -> None:
    three_chats(database)
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        monkeypatch.setattr(History, "hide", fail)
        await pilot.press("ctrl+d")
        await until(pilot, lambda: "the disk [is] broken" in str(app.screen.query_one("#said").render()))
        assert len(listed(app)) == 3


async def test_the_palette_offers_the_commands(start, database) -> None:
    three_chats(database)
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("ctrl+p")
        await until(pilot, lambda: type(app.screen).__name__ == "CommandPalette")
        await pilot.press(*"find, open")
        await until(pilot, lambda: app.screen.query_one(OptionList).option_count)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChatsScreen))


async def test_pasted_words_are_fit_for_the_screen(start, database) -> None:
    three_chats(database)
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot)
        app.post_message(events.Paste("pe\x1b[31m\nars"))
        await until(pilot, lambda: app.screen.query_one(Input).value)
        assert app.screen.query_one(Input).value == "pe\N{REPLACEMENT CHARACTER}[31m ars"


def test_titles_that_match_are_not_listed_without_end(database, monkeypatch) -> None:
    three_chats(database)
    monkeypatch.setattr(chats, "MOST_CHATS", 2)
    with History(database) as history:
        rows = list(chats._find(history, "about"))
    assert [row.excerpt != "" for row in rows] == [False, False, *[True] * 6]
