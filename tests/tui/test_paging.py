"""A long chat is on the screen in part: down again, to the end, from a hit; and what the reader is told of it."""

import gc
import re
import threading

import pytest

from assistant.conversation.history import History
from assistant.tui import chat, garbage
from assistant.tui.paging import BELOW, WRITTEN_BELOW
from assistant.tui.widgets.message import MessageView
from assistant.tui.widgets.transcript import MOST_MOUNTED, Transcript
from tests.tui.conftest import say, state
from tests.tui.scripted import Frames, ScriptedModel, done, painted, reset, text, until


@pytest.fixture
def long_chat(database) -> list[int]:
    """A chat of 300 messages; returns their ids."""
    with History(database) as history:
        chat, first = history.new_chat("message 0 ")
        ids = [first]
        for number in range(1, 300, 2):
            ids.append(history.begin(chat))
            history.settle(ids[-1], f"message {number} " + "and more words " * (number % 9), reason="stop")
            ids.append(history.say(chat, f"message {number + 1} "))
    return ids


def numbers(frame: str) -> list[int]:
    return [int(number) for number in re.findall(r"message (\d+)\s", frame)]


async def test_down_again_every_message_comes_and_few_are_mounted(start, long_chat) -> None:
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: "message 300" in frames.screen())
        transcript = app.screen.query_one(Transcript)
        await go_to_the_top(pilot, transcript, 4)
        assert len(app.screen.query(MessageView)) <= MOST_MOUNTED
        seen: list[int] = []
        while transcript.rest_below or transcript.scroll_y < transcript.max_scroll_y:
            before, newest = numbers(frames.screen()), transcript.newest
            await pilot.press("pagedown")
            await painted(pilot)
            if transcript.rest_below and transcript.scroll_y >= transcript.max_scroll_y:
                last = numbers(frames.screen())[-1]
                await until(pilot, lambda newest=newest: transcript.newest != newest)
                assert last in numbers(frames.screen()), "the reader was moved"
            assert len(app.screen.query(MessageView)) <= MOST_MOUNTED
            seen += before + numbers(frames.screen())
        assert set(range(min(seen), 301)) == set(seen)
        await until(pilot, lambda: transcript.following)


async def test_ctrl_end_goes_to_the_end_whatever_is_mounted(start, long_chat) -> None:
    app = start(ScriptedModel([text("Answer."), done("Answer.")]))
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: "Ready" in state(app))
        await app.chat._show_chat(1, long_chat[20])
        await until(pilot, lambda: 20 in numbers(frames.screen() + " "))
        assert len(app.screen.query(MessageView)) <= 50
        assert app.screen.query_one(Transcript).rest_below
        await until(pilot, lambda: BELOW in frames.screen())
        await pilot.press("ctrl+end")
        await until(pilot, lambda: "message 300" in frames.screen() and BELOW not in frames.screen())
        assert app.screen.query_one(Transcript).following


async def test_what_is_asked_for_after_a_jump_is_for_the_end_of_the_chat(start, long_chat) -> None:
    app = start(ScriptedModel([text("Answer."), done("Answer.")]))
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: "Ready" in state(app))
        await app.chat._show_chat(1, long_chat[20])
        app.screen.set_focus(app.chat._prompt)
        await app.chat.action_edit()
        assert app.chat._prompt.text == "message 300 "
        await pilot.press("escape")
        await app.chat._show_chat(1, long_chat[20])
        app.screen.set_focus(app.chat._prompt)
        await say(pilot, "one more")
        await until(pilot, lambda: "Answer." in frames.screen())
        assert "one more" in frames.screen()
        assert numbers(frames.screen())[-1] == 300


async def go_to_the_top(pilot, transcript: Transcript, pages: int) -> None:
    for _ in range(pages):
        oldest = transcript.oldest
        await pilot.press("pageup")
        transcript.scroll_home(animate=False)
        await until(pilot, lambda oldest=oldest: transcript.oldest != oldest)


@pytest.mark.parametrize("way", ["ctrl+end", "pagedown"])
async def test_a_reply_goes_on_where_a_reader_is_far_above_it(start, long_chat, way: str) -> None:
    shown, more, end = (threading.Event() for _ in range(3))
    script = [
        text("Zebrafish"),
        shown,
        reset(9),
        text("Better "),
        more,
        text("words."),
        end,
        done("Better words."),
    ]
    app = start(ScriptedModel(script))
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        transcript = app.screen.query_one(Transcript)
        await say(pilot, "one more")
        await until(pilot, lambda: "Zebrafish" in frames.screen())
        await go_to_the_top(pilot, transcript, 4)
        assert len(app.screen.query(MessageView)) <= MOST_MOUNTED
        place, above = transcript.scroll_y, frames.screen().splitlines()[:-4]
        shown.set()
        await until(pilot, lambda: transcript.live.said == "Better ")
        more.set()
        if way == "ctrl+end":
            await pilot.press(way)
            await until(pilot, lambda: "Better words." in frames.screen())
            assert "one more" in frames.screen()
            assert transcript.following
        else:
            assert (transcript.scroll_y, frames.screen().splitlines()[:-4]) == (place, above)
        end.set()
        await until(pilot, lambda: "tokens/s" in state(app) and app.chat._request is None)
        if way == "pagedown":
            assert (transcript.scroll_y, frames.screen().splitlines()[:-4]) == (place, above)
        while not transcript.following:
            await pilot.press("pagedown")
            await painted(pilot)
        assert numbers(frames.screen())[-1] == 300
        assert frames.screen().count("Better words.") == 1
        assert "Draft taken back" in frames.screen()


async def test_a_reader_who_scrolled_away_is_told_how_to_come_back(start) -> None:
    end = threading.Event()
    long = "\n\n".join(f"paragraph {number}" for number in range(40))
    app = start(ScriptedModel([text(long), end, done(long)]))
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "a")
        await until(pilot, lambda: "paragraph 39" in frames.screen())
        assert "Ctrl+End" not in frames.screen()
        await pilot.press("pageup")
        await until(pilot, lambda: WRITTEN_BELOW in frames.screen())
        end.set()
        await until(pilot, lambda: BELOW in frames.screen())
        assert "paragraph 39" not in frames.screen()
        await pilot.press("pagedown", "pagedown")
        await until(pilot, lambda: "Ctrl+End" not in frames.screen())


class Elsewhere:
    """Another program at the same store, which writes a reply."""

    def __init__(self, database) -> None:
        self.history = History(database)
        self.chat, _ = self.history.new_chat("a question")
        self.reply = self.history.begin(self.chat)


@pytest.fixture
def elsewhere(database, request) -> Elsewhere:
    other = Elsewhere(database)
    request.addfinalizer(other.history.close)
    return other


async def test_a_reply_that_another_program_writes_goes_on_here(start, elsewhere) -> None:
    app = start(ScriptedModel())
    elsewhere.history.grow(elsewhere.reply, "Zebrafish are")
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: "Zebrafish are" in frames.screen() and state(app) == "Ready")
        assert "in another Takeback" in frames.screen()
        elsewhere.history.take_back(elsewhere.reply)
        await until(pilot, lambda: "Zebrafish" not in frames.screen())
        taken_back = len(frames)
        elsewhere.history.grow(elsewhere.reply, "Better")
        await until(pilot, lambda: "Better" in frames.screen())
        elsewhere.history.settle(elsewhere.reply, "Better words.", reason="stop", resets=1, shown_resets=1)
        await until(pilot, lambda: "Better words." in frames.screen())
        assert "in another Takeback" not in frames.screen()
        assert "↺ Draft taken back" in frames.screen()
        assert not any("Zebrafish" in frame for frame in frames.frames[taken_back:])
        assert all("a question" in frame for frame in frames.frames[taken_back:])
        await until(pilot, lambda: app.chat._meter[0] == 4)


async def test_a_reply_whose_other_program_was_killed_is_unfinished_here(start, elsewhere) -> None:
    app = start(ScriptedModel())
    elsewhere.history.grow(elsewhere.reply, "Half of")
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: "in another Takeback" in frames.screen())
        elsewhere.history.close()
        await until(pilot, lambda: "Unfinished: Takeback ended" in frames.screen())
        assert "Half of" in frames.screen()


class Busy:
    """The model's thread, at something that takes long."""

    def __init__(self, app) -> None:
        self.go_on = threading.Event()
        app.chat._model.ask(lambda model: self.go_on.wait(60))


async def test_the_screen_goes_on_while_the_model_is_asked_for_the_prompt(start) -> None:
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        busy = Busy(app)
        await say(pilot, "words ")
        await until(pilot, lambda: app.chat._request is not None)
        app.chat._request = None
        app.chat.action_prompt()
        await pilot.press(*"typed")
        await until(pilot, lambda: "typed" in frames.screen())
        busy.go_on.set()


async def test_the_screen_goes_on_while_a_long_message_is_measured(start, database) -> None:
    app = start(ScriptedModel([text("Answer."), done("Answer.")]))
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        busy = Busy(app)
        await say(pilot, "words " * 500)
        await pilot.press("enter")
        await until(pilot, lambda: "being sent" in state(app))
        await pilot.press("f1")
        await until(pilot, lambda: app.screen is not app.chat)
        await pilot.press("escape")
        busy.go_on.set()
        await until(pilot, lambda: "Answer." in frames.screen())
    assert app.chat.end()
    with History(database) as history:
        assert [entry.role for entry in history.entries(1)] == ["user", "assistant"]


async def test_garbage_of_all_that_lives_waits_until_a_reply_is_over(start, monkeypatch) -> None:
    monkeypatch.setattr(chat, "SECONDS_OF_QUIET", 0.5)
    more = threading.Event()
    app = start(ScriptedModel([text("Words"), more, done("Words")]))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "a question")
        await until(pilot, lambda: gc.get_threshold()[2] == garbage.NEVER)
        more.set()
        await until(pilot, lambda: gc.get_threshold() == garbage.USUAL)
