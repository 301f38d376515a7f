"""What the user sees of the context: how full it is, what is left out, what the model is sent, what is held."""

import threading

import pytest

from assistant.conversation.history import History
from assistant.conversation.model_thread import ModelThread
from assistant.tui.document import Document
from assistant.tui.widgets.message import MessageView, Notice
from assistant.tui.widgets.page import Page
from assistant.tui.widgets.transcript import BOUNDARY, Transcript
from tests.tui.conftest import say, state
from tests.tui.scripted import Frames, ScriptedModel, done, text, until

NINE = "one two three four five six seven eight nine"


def meter(app) -> str:
    return str(app.chat.query_one("#meter").render())


def page(app) -> str:
    return "\n".join(words(widget.render()) for widget in app.screen.query("Static").results())


def words(drawn) -> str:
    if not isinstance(drawn, Document):
        return str(drawn)
    return "\n".join(block.first + block.content.plain for block in drawn.blocks)


async def test_the_meter_counts_the_chat_that_is_shown(start, database) -> None:
    with History(database) as history:
        history.new_chat(NINE)
    app = start(ScriptedModel([text("ten eleven"), done("ten eleven")], context=40))
    async with app.run_test(size=(120, 24)) as pilot:
        await until(pilot, lambda: meter(app) == "context 9 of 40")
        await say(pilot, NINE)
        await until(pilot, lambda: meter(app) == "context 20 of 40")
        await pilot.press("ctrl+n")
        await until(pilot, lambda: meter(app) == "")
    small = start(ScriptedModel(context=40))
    async with small.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: meter(small) == "context 50 %")


async def test_a_line_says_what_the_model_no_longer_sees(start) -> None:
    app = start(ScriptedModel(*([[text("ok"), done("ok")]] * 8), context=40))
    async with app.run_test(size=(100, 60)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        for turn in range(1, 6):
            await say(pilot, f"turn{turn} " + NINE)
            await until(pilot, lambda turn=turn: len(app.chat.query(MessageView)) == 2 * turn)
        await until(pilot, lambda: BOUNDARY in frames.screen())
        assert len(app.chat.query(".boundary")) == 1
        above, below = frames.screen().split(BOUNDARY)
        first = app.chat._model._first_seen[app.chat._chat]
        seen = next(view for view in app.chat.query(MessageView) if view.entry == first)
        assert seen._parts[1].plain in below
        assert "turn1" in above
        assert any("no longer sees the first" in str(n.render()) for n in app.chat.query(Notice))


async def test_the_line_is_there_again_after_a_restart_also_among_older_messages(start, database) -> None:
    with History(database) as history:
        chat, _ = history.new_chat("message 0")
        for number in range(1, 130):
            history.settle(history.begin(chat), "ok", reason="stop")
            history.say(chat, f"message {number}")
    app = start(ScriptedModel(context=300))
    async with app.run_test(size=(80, 24)) as pilot:
        transcript = app.chat.query_one(Transcript)
        await until(pilot, lambda: meter(app) == "context 56 %")
        assert not app.chat.query(".boundary")  # it is further up
        await pilot.press("pageup")
        while not app.chat.query(".boundary"):
            oldest = transcript.oldest
            transcript.scroll_home(animate=False)
            await until(pilot, lambda oldest=oldest: transcript.oldest != oldest and transcript.scroll_y > 0)
        line = app.chat.query_one(".boundary")
        following = line.parent.children[line.parent.children.index(line) + 1]
        assert following.entry == transcript._first_seen


async def test_a_branch_left_short_is_seen_whole(start, database) -> None:
    model = ScriptedModel(*([[text("ok"), done("ok")]] * 8), context=40)
    app = start(model)
    async with app.run_test(size=(100, 60)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        for turn in range(1, 6):
            await say(pilot, f"turn{turn} " + NINE)
            await until(pilot, lambda turn=turn: len(app.chat.query(MessageView)) == 2 * turn)
        views = [view for view in app.chat.query(MessageView) if view.role == "user"]
        app.screen.set_focus(views[1])
        await pilot.press("e")
        await until(pilot, lambda: "turn2" in app.chat._prompt.text)
        await pilot.press("enter")
        await until(pilot, lambda: len(model.asked) == 6)
        assert [m.content for m in model.asked[-1]] == [f"turn1 {NINE}", "ok", f"turn2 {NINE}"]


async def test_the_prompt_is_shown_exactly(start, database) -> None:
    with History(database) as history:
        chat, _ = history.new_chat("first [b] words \x1b[31m", system="Be brief.")
        history.settle(history.begin(chat), "a reply", reason="stop")
    app = start(ScriptedModel())
    async with app.run_test(size=(100, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        app.chat._prompt.text = "half a question"
        app.chat.action_prompt()
        await until(pilot, lambda: isinstance(app.screen, Page))
        mark = "\N{REPLACEMENT CHARACTER}"
        sent = (
            f"<|system|>Be brief.<|user|>first [b] words {mark}[31m<|assistant|>a reply"
            "<|user|>half a question<|assistant|>"
        )
        assert sent in page(app)
        assert "11 of 4,096 tokens" in page(app)
        await pilot.press("escape", "ctrl+n")
        app.chat._prompt.text = ""
        app.chat.action_prompt()
        await until(pilot, lambda: "nothing is said yet" in state(app))
        app.chat._prompt.text = "new"
        app.chat.action_prompt()
        await until(pilot, lambda: isinstance(app.screen, Page) and "<|user|>new<|assistant|>" in page(app))


async def test_tokens_held_back_are_a_quiet_count_until_something_is_shown(start) -> None:
    first, end = threading.Event(), threading.Event()
    model = ScriptedModel([first, text("Good."), end, done("Good.")])
    app = start(model)
    async with app.run_test(size=(100, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("a", "enter")
        await until(pilot, lambda: "…" in frames.screen())
        transcript = frames.screen().splitlines()[:-1]
        model.held = 12
        await until(pilot, lambda: state(app) == "Thinking… 12 tokens held back")
        assert frames.screen().splitlines()[:-1] == transcript
        first.set()
        await until(pilot, lambda: state(app) == "Writing…")
        model.held = 13
        await pilot.pause(0.6)
        assert state(app) == "Writing…"
        end.set()
        await until(pilot, lambda: "tokens/s" in state(app))


@pytest.mark.parametrize("fails", [False, True])
def test_a_question_to_the_model_is_answered_in_its_thread(tmp_path, fails: bool) -> None:
    names = []

    def question(model):
        names.append(threading.current_thread().name)
        if fails:
            raise RuntimeError("no")
        return 7

    with History(tmp_path / "history.db") as history:
        thread = ModelThread(lambda progress: ScriptedModel(), lambda report: None)
        thread.start(history)
        asked = thread.ask(question)
        assert isinstance(asked.exception(60), RuntimeError) if fails else asked.result(60) == 7
        assert thread.close(60)
    assert names == ["model"]


async def test_the_keys_are_listed(start) -> None:
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, Page))
        for words in ("Ctrl+O", "new line", "/prompt", "/rename TITLE"):
            assert words in page(app)
        await pilot.press("f1")
        await until(pilot, lambda: app.screen is app.chat)
