"""What the user does in the chat, and what becomes of it."""

import re
import threading

import pytest
from textual import events

from assistant.conversation.history import History
from assistant.engine.events import Error
from assistant.tui import replying
from assistant.tui.rate import Rate
from assistant.tui.widgets.prompt import Prompt
from tests.tui.conftest import say, state, stored
from tests.tui.scripted import PATIENCE, Frames, ScriptedModel, done, text, until


async def test_a_message_is_stored_and_answered(start, database) -> None:
    model = ScriptedModel([text("Hello "), text("you."), done("Hello you.")])
    app = start(model, system="Be brief.")
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press(*"hi", "enter")
        await until(pilot, lambda: state(app) == "Ready · 12.5 tokens/s")
        assert "Hello you." in frames.screen()
        assert "takes back: yes" in frames.screen()
        assert app.screen.query_one(Prompt).text == ""
    assert app.chat.end()
    assert stored(database) == [("user", "hi", ""), ("assistant", "Hello you.", "stop")]
    assert [(m.role, m.content) for m in model.asked[0]] == [("system", "Be brief."), ("user", "hi")]


async def test_the_screen_is_there_before_the_model_and_a_message_waits_for_it(start, database) -> None:
    loaded = threading.Event()

    def load(progress):
        progress("quantizing", 1, 4)
        assert loaded.wait(PATIENCE)
        return ScriptedModel([text("Here."), done("Here.")], takes_back=False, note="it has no reset token")

    app = start(load, model_name="some model")
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Quantizing 25 %")
        assert "some model" in frames.screen() or "some model" in str(app.screen.query_one("#model").render())
        await pilot.press(*"early", "enter")
        await until(pilot, lambda: "▌  early" in frames.screen())
        assert stored(database) == [("user", "early", "")]
        loaded.set()
        await until(pilot, lambda: "Here." in frames.screen())
        assert "takes back: no" in frames.screen()
        assert "it has no reset token" in frames.screen()


async def test_esc_stops_and_keeps_what_was_shown(start, database) -> None:
    never = threading.Event()
    app = start(ScriptedModel([text("Half of"), never]))
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("a", "enter")
        await until(pilot, lambda: "Half of" in frames.screen())
        await pilot.press(*"next", "enter")
        await until(pilot, lambda: "Not yet" in state(app))
        assert app.screen.query_one(Prompt).text == "next"
        await pilot.press("escape")
        await until(pilot, lambda: "Stopped" in state(app))
        assert "Half of" in frames.screen()
    assert app.chat.end()
    assert stored(database) == [("user", "a", ""), ("assistant", "Half of", "cancelled")]


async def test_esc_before_the_model_is_there_keeps_the_message_unanswered(start, database) -> None:
    loaded = threading.Event()
    model = ScriptedModel([text("x"), done("x")])

    def load(progress):
        assert loaded.wait(PATIENCE)
        return model

    app = start(load)
    async with app.run_test() as pilot:
        await until(pilot, lambda: "Loading" in state(app))
        await pilot.press("a", "enter")
        await until(pilot, lambda: app.screen._request is not None)
        await pilot.press("escape")
        loaded.set()
        await until(pilot, lambda: "Stopped" in state(app))
        assert model.asked == []
        await pilot.press("b", "enter")
        await until(pilot, lambda: "tokens/s" in state(app))
    assert app.chat.end()
    assert [m.content for m in model.asked[0]] == ["a\n\nb"]
    assert [row[0] for row in stored(database)] == ["user", "user", "assistant"]


async def test_ctrl_c_copies_or_stops_or_says_how_to_quit(start, database) -> None:
    never = threading.Event()
    app = start(ScriptedModel([text("Half"), never]))
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("ctrl+c")
        assert state(app) == "Ctrl+C once more, or Ctrl+Q, quits"
        await pilot.press(*"word", "shift+home", "ctrl+c")
        assert app.clipboard == "word"
        await until(pilot, lambda: state(app) == "Sent to the terminal to copy (OSC 52): 4 characters")
        assert app.is_running
        await pilot.press("end", "enter")
        await until(pilot, lambda: "Half" in frames.screen())
        await pilot.press("ctrl+c")
        await until(pilot, lambda: "Stopped" in state(app))
    assert app.chat.end()
    assert stored(database)[-1][2] == "cancelled"


async def test_ctrl_q_while_a_reply_is_written_loses_nothing(start, database) -> None:
    never = threading.Event()
    app = start(ScriptedModel([text("Half of it"), never]))
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("a", "enter")
        await until(pilot, lambda: "Half of it" in frames.screen())
        await pilot.press("ctrl+q")
    assert app.chat.end()
    assert stored(database) == [("user", "a", ""), ("assistant", "Half of it", "cancelled")]


async def test_new_lines_and_pastes_do_not_send(start) -> None:
    app = start(ScriptedModel())
    async with app.run_test() as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        prompt = app.screen.query_one(Prompt)
        await pilot.press("a", "ctrl+j", "b", "shift+enter")
        app.post_message(events.Paste("c\r\nd\re\x1b[31m\u202e\n"))
        await until(pilot, lambda: "d" in prompt.text)
        mark = "\N{REPLACEMENT CHARACTER}"
        assert prompt.text == f"a\nb\nc\nd\ne{mark}[31m{mark}\n"
        assert prompt.cursor_location == (5, 0)
        assert app.screen._request is None


async def test_an_empty_message_is_not_sent(start) -> None:
    app = start(ScriptedModel())
    async with app.run_test() as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("space", "ctrl+j", "enter")
        await pilot.pause(0.05)
        assert app.screen._request is None


async def test_ctrl_n_begins_a_new_chat_and_keeps_the_old(start, database) -> None:
    never = threading.Event()
    app = start(ScriptedModel([text("Half"), never], [text("Fresh."), done("Fresh.")]))
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press(*"old", "enter")
        await until(pilot, lambda: "Half" in frames.screen())
        await pilot.press("ctrl+n")
        await until(pilot, lambda: "A chat with a model" in frames.screen() and "Half" not in frames.screen())
        await pilot.press(*"new", "enter")
        await until(pilot, lambda: "Fresh." in frames.screen())
        assert "Half" not in frames.screen()
    assert app.chat.end()
    assert stored(database, 1)[-1] == ("assistant", "Half", "cancelled")
    assert stored(database, 2) == [("user", "new", ""), ("assistant", "Fresh.", "stop")]


async def test_the_last_chat_is_shown_again_with_what_happened_to_it(start, database) -> None:
    with History(database) as history:
        chat, _ = history.new_chat("first words [b]not markup[/x]")
        history.settle(history.begin(chat), "**Kept.**", reason="stop", resets=1, shown_resets=1)
        history.say(chat, "again")
        history.grow(history.begin(chat), "Broken off")
    app = start(ScriptedModel())
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: "Broken off" in frames.screen())
        shown = frames.screen()
    for words in (
        "first words [b]not markup[/x]",
        "Kept.",
        "↺ Draft taken back",
        "Unfinished: Takeback ended",
    ):
        assert words in shown


@pytest.mark.parametrize("begin_new", [False, True])
async def test_a_system_message_alone_does_not_hide_the_last_chat(start, database, begin_new: bool) -> None:
    with History(database) as history:
        history.new_chat("the last chat")
    app = start(ScriptedModel(), system="Be brief.", begin_new=begin_new)
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        assert ("the last chat" in frames.screen()) is not begin_new


async def test_untrusted_names_and_errors_are_cleaned(start) -> None:
    model = ScriptedModel([Error("broken [/b] \x1b[31m file")], note="a \x1b]0;note\x07 [b]")
    model.info.name = "bad \x1b[2J [name]"
    app = start(model)
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("a", "enter")
        await until(pilot, lambda: "broken [/b] \N{REPLACEMENT CHARACTER}[31m file" in frames.screen())
        assert "bad \N{REPLACEMENT CHARACTER}[2J [name]" in frames.screen()
        assert "No reply" in state(app)


async def test_what_does_not_fit_the_context_is_told(start) -> None:
    model = ScriptedModel(*([[text("ok"), done("ok")]] * 8), context=40)
    app = start(model)
    async with app.run_test(size=(100, 50)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        for _ in range(5):
            await say(pilot, "one two three four five six seven eight nine")
            await until(pilot, lambda: "tokens/s" in state(app))
            await pilot.press("ctrl+c")
        assert "no longer sees the first 4 messages" in frames.screen()
        assert len(model.asked[3]) == 3


@pytest.mark.parametrize("size", [(40, 12), (200, 60)])
async def test_other_sizes_have_room_for_all(start, size) -> None:
    app = start(ScriptedModel([text("Reply."), done("Reply.")]))
    async with app.run_test(size=size) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("a", "enter")
        await until(pilot, lambda: "Reply." in frames.screen())
        assert "takes back: yes" in frames.screen()


async def test_the_footer_says_how_fast_a_reply_is_written_and_leaves_a_word_for_a_moment(
    start, monkeypatch
) -> None:
    monkeypatch.setattr(Rate, "LEAST_SECONDS", 0.1)
    monkeypatch.setattr(Rate, "LEAST_TIMES", 4)
    monkeypatch.setattr(replying, "SECONDS_FOR_A_WORD", 5.0)

    class Steady(ScriptedModel):
        def generate(self, messages, options=None):
            self._cancelled.clear()
            while not self._cancelled.wait(0.02):
                yield text("word ")
            yield done("word", "cancelled")

    app = start(Steady())
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "a")
        await until(pilot, lambda: re.fullmatch(r"Writing… \d+ tokens/s", state(app)))
        await say(pilot, "b")
        await until(pilot, lambda: "Not yet" in state(app))
        said = len(app.chat._transcript.live.said)
        await until(pilot, lambda: len(app.chat._transcript.live.said) > said + 10)
        assert "Not yet" in state(app)
        await until(pilot, lambda: re.fullmatch(r"Writing… \d+ tokens/s", state(app)))
        await pilot.press("escape")
        await until(pilot, lambda: state(app).startswith("Stopped"))


async def test_ctrl_c_twice_with_nothing_written_quits(start) -> None:
    app = start(ScriptedModel([text("Reply."), done("Reply.")]))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("ctrl+c", "a", "ctrl+c")  # with something written, it does not
        assert state(app) == "Ctrl+Q quits"
        assert not app._exit
        await pilot.press("backspace", "ctrl+c")
        assert not app._exit
        await pilot.press("ctrl+c")
        assert app._exit
