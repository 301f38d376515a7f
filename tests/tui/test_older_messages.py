"""Messages that are in the store and not on the screen come when the reader goes back to them."""

import re

from assistant.conversation.history import History
from assistant.tui.widgets import transcript as transcript_module
from assistant.tui.widgets.message import MessageView, Notice
from assistant.tui.widgets.transcript import Transcript
from tests.tui.conftest import Gate, fail, say, state
from tests.tui.scripted import Frames, ScriptedModel, done, happened, text, until


def many_messages(database) -> None:
    with History(database) as history:
        chat, _ = history.new_chat("message 0")
        for number in range(1, 60):
            history.say(chat, f"message {number}")


async def test_older_messages_come_when_the_reader_reaches_the_top(start, database) -> None:
    with History(database) as history:
        chat, _ = history.new_chat("message 0 ")
        for number in range(1, 130):
            long = "and some words more " * (number % 9)
            history.say(chat, f"message {number} " + long)
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: "message 129" in frames.screen())
        assert len(app.screen.query(".user")) == 50
        transcript = app.screen.query_one(Transcript)
        await pilot.press("pageup")
        transcript.scroll_home(animate=False)
        await until(pilot, lambda: len(app.screen.query(".user")) == 70 and transcript.scroll_y > 0)
        assert re.search(r"message 80\s", frames.screen().splitlines()[3]), "the reader was moved"
        for oldest in (60, 40, 20, 0):
            transcript.scroll_home(animate=False)
            first = {60: 40, 40: 20, 20: 0, 0: 0}[oldest]
            await until(pilot, lambda first=first: transcript.oldest == first + 1)
            assert re.search(rf"message {oldest}( |$)", frames.screen().splitlines()[3]), (
                "the reader was moved"
            )
        assert transcript.rest_below
        assert len(app.screen.query(".user")) == transcript_module.MOST_MOUNTED


async def test_messages_that_were_removed_come_back_from_the_store(start, monkeypatch) -> None:
    monkeypatch.setattr(transcript_module, "MOST_MOUNTED", 12)
    monkeypatch.setattr(transcript_module, "KEPT_MOUNTED", 6)  # of 13: that would begin with an answer
    model = ScriptedModel(*([text(f"answer {n}."), done(f"answer {n}.")] for n in range(8)))
    app = start(model)
    async with app.run_test(size=(80, 14)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        for number in range(8):
            await say(pilot, f"question {number}.")
            await until(pilot, lambda number=number: f"answer {number}." in frames.screen())
            await until(pilot, lambda: app.screen._request is None)
        assert len(app.screen.query(MessageView)) < 12
        transcript = app.screen.query_one(Transcript)
        await pilot.press("pageup")
        transcript.scroll_home(animate=False)
        await until(pilot, lambda: transcript.rest_below)
        transcript.scroll_home(animate=False)
        await until(pilot, lambda: "question 0." in frames.screen())
        all_words = [f"{what} {n}." for n in range(8) for what in ("question", "answer")]
        assert [view._parts[1].plain for view in app.screen.query(MessageView)] == all_words[:12]
        transcript.scroll_end(animate=False)
        await until(pilot, lambda: not transcript.rest_below)
        assert [view._parts[1].plain for view in app.screen.query(MessageView)] == all_words[-12:]


async def test_older_messages_that_cannot_be_read_can_be_asked_for_again(
    start, database, monkeypatch
) -> None:
    many_messages(database)
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        read = History.entries
        monkeypatch.setattr(History, "entries", fail)
        transcript = app.screen.query_one(Transcript)
        await pilot.press("pageup")
        transcript.scroll_home(animate=False)
        await until(pilot, lambda: "cannot be read" in state(app))
        assert [str(notice.render()) for notice in app.screen.query(Notice)] == ["the disk [is] broken"]
        monkeypatch.setattr(History, "entries", read)
        await pilot.press("pagedown")
        await until(pilot, lambda: transcript.scroll_y > 0)
        transcript.scroll_home(animate=False)
        await until(pilot, lambda: len(app.screen.query(".user")) == 60)


async def test_older_messages_of_a_chat_that_was_left_do_not_come_into_the_new_one(
    start, database, monkeypatch
) -> None:
    many_messages(database)
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        read = Gate(monkeypatch, "entries")
        transcript = app.screen.query_one(Transcript)
        await pilot.press("pageup")
        transcript.scroll_home(animate=False)
        await happened(pilot, read.entered.is_set)  # nothing is painted while the screen waits
        app.simulate_key("ctrl+n")  # not pilot.press: it waits for the screen, which waits for the store
        await happened(pilot, lambda: not app.screen.query(MessageView) and app.screen.query("#welcome"))
        read.go_on.set()
        await until(pilot, lambda: "A chat with a model" in frames.screen())
        assert not app.screen.query(MessageView)
