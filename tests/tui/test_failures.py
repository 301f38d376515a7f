"""What the user sees of a model or a store that fails, and that the chat goes on."""

import asyncio
import threading
from collections import deque

import pytest

from assistant.conversation import recording
from assistant.conversation.history import History
from assistant.conversation.reports import Problem
from assistant.engine import session as session_module
from assistant.engine.events import Error, Event
from assistant.tui.widgets.message import Notice
from assistant.tui.widgets.prompt import Prompt
from convert.errors import TakebackError
from tests.engine.tiny_models import write_window_model
from tests.tui.conftest import Gate, fail, say, state, stored
from tests.tui.scripted import PATIENCE, Frames, ScriptedModel, done, text, until


async def test_a_model_that_does_not_load_is_told_and_the_message_kept(start, database) -> None:
    failing = threading.Event()

    def load(progress):
        assert failing.wait(PATIENCE)
        raise TakebackError("no [such] model; add one")

    app = start(load)
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: "Loading" in state(app))
        await pilot.press(*"early", "enter")
        failing.set()
        await until(pilot, lambda: "no [such] model; add one" in frames.screen())
        assert "No model" in state(app)
    assert app.chat.end()
    assert stored(database) == [("user", "early", "")]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TakebackError("no such model"), "no such model"),
        (OSError("libllama.so: cannot open"), "libllama.so: cannot open"),
        (MemoryError(), "not enough memory"),
    ],
    ids=["takeback", "library", "memory"],
)
async def test_without_a_model_every_message_is_told_so(start, database, error, words: str) -> None:
    def load(progress):
        raise error

    app = start(load)
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: "No model" in state(app))
        for number in (2, 3):
            await pilot.press("a", "enter")
            await until(pilot, lambda number=number: frames.screen().count(words) == number)
            assert app.screen._request is None
    assert app.chat.end()
    assert stored(database) == [("user", "a", "")] * 2


async def test_a_file_that_makes_llama_cpp_abort_does_not_take_the_chat_with_it(
    start, database, tmp_path, monkeypatch
) -> None:
    """Two tokens of one text end a process. They are seen beforehand; here they stand for what is not."""
    monkeypatch.setenv("TAKEBACK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(session_module, "_check_tokens", lambda path, header: None)
    path = write_window_model(tmp_path / "hostile.gguf")
    path.write_bytes(path.read_bytes().replace(b"<0x42>", b"<0x41>"))
    written = threading.Event()

    def load(progress):
        assert written.wait(PATIENCE)
        return session_module.Session.open(path)

    app = start(load)
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: "Loading" in state(app))
        await pilot.press(*"hello", "enter")
        written.set()
        await until(pilot, lambda: "llama.cpp cannot run it:" in " ".join(frames.screen().split()))
        assert "No model" in state(app)
    assert app.chat.end()
    assert stored(database) == [("user", "hello", "")]


async def test_a_reply_that_breaks_in_an_unforeseen_way_does_not_end_the_chat(start, database) -> None:
    model = ScriptedModel([text("Half"), object()], [text("Whole."), done("Whole.")])
    play = model.generate

    def generate(messages, options=None):
        for event in play(messages, options):
            if not isinstance(event, Event):
                raise RuntimeError("decode [failed]")
            yield event

    model.generate = generate
    app = start(model)
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("a", "enter")
        await until(pilot, lambda: "decode [failed]" in frames.screen())
        await pilot.press("b", "enter")
        await until(pilot, lambda: "Whole." in frames.screen())
    assert app.chat.end()
    assert [row[1:] for row in stored(database)][1::2] == [("Half", "error"), ("Whole.", "stop")]


async def test_a_reply_that_fails_after_its_beginning_keeps_what_was_shown(start, database) -> None:
    app = start(ScriptedModel([text("Half of it"), Error("the machine broke")], [text("Ok."), done("Ok.")]))
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("a", "enter")
        await until(pilot, lambda: state(app) == "Unfinished")
        half, remark, notice = (
            frames.screen().find(words) for words in ("Half of it", "Unfinished", "the machine broke")
        )
        assert 0 < half < remark < notice
        await pilot.press("b", "enter")
        await until(pilot, lambda: "Ok." in frames.screen())
    assert app.chat.end()
    assert stored(database)[1] == ("assistant", "Half of it", "error")


async def test_one_message_that_is_too_long_does_not_block_the_chat(start) -> None:
    model = ScriptedModel(*([[text("ok"), done("ok")]] * 2), context=40)
    app = start(model)
    async with app.run_test(size=(100, 50)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "word " * 50)
        await until(pilot, lambda: "too long: 50 tokens" in frames.screen())
        for words in ("short", "again"):
            await say(pilot, words)
            await until(pilot, lambda: "tokens/s" in state(app))
            await pilot.press("ctrl+c")
        assert "no longer sees the first message:" in frames.screen()
    assert [message.content for message in model.asked[0]] == ["short"]
    assert [message.content for message in model.asked[1]] == ["again"]


async def test_a_store_that_cannot_be_opened_is_one_line_on_the_screen(start, database) -> None:
    database.write_bytes(b"not a database " * 400)
    app = start(ScriptedModel())
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: "damaged" in frames.screen())
        await pilot.press("a", "enter")
        await pilot.pause(0.05)
        assert app.screen.query_one(Prompt).text == "a"


async def test_a_disk_that_is_full_while_a_reply_is_written_is_told_once_and_the_reply_goes_on(
    start, database, monkeypatch
) -> None:
    monkeypatch.setattr(recording, "SECONDS_BETWEEN_WRITES", 0.0)
    full, go_on = threading.Event(), threading.Event()
    script = [text("The first half, "), full, text("more, "), text("and the rest."), go_on]
    app = start(ScriptedModel([*script, done("The first half, more, and the rest.")]))
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await pilot.press("a", "enter")
        await until(pilot, lambda: "The first half" in frames.screen())
        with monkeypatch.context() as disk:
            disk.setattr(History, "grow", fail)
            full.set()
            await until(pilot, lambda: "and the rest." in frames.screen())
            await until(pilot, lambda: "This reply is not stored: the disk [is] broken" in frames.screen())
        go_on.set()
        await until(pilot, lambda: "tokens/s" in state(app))
        assert frames.screen().count("not stored") == 1
    assert app.chat.end()
    assert stored(database)[-1] == ("assistant", "The first half, more, and the rest.", "stop"), (
        "there is room again"
    )


async def test_a_message_that_cannot_be_stored_stays_in_the_prompt(start, database, monkeypatch) -> None:
    app = start(ScriptedModel([text("Answer."), done("Answer.")]))
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        with monkeypatch.context() as disk:
            disk.setattr(History, "new_chat", fail)
            await say(pilot, "precious words")
            await until(pilot, lambda: "Not sent: the disk [is] broken" in frames.screen())
            assert app.screen.query_one(Prompt).text == "precious words"
        await pilot.press("enter")
        await until(pilot, lambda: "Answer." in frames.screen())
    assert app.chat.end()
    assert [row[1] for row in stored(database)] == ["precious words", "Answer."]


async def test_a_last_chat_that_cannot_be_read_is_one_line_on_the_screen(
    start, database, monkeypatch
) -> None:
    History(database).close()
    monkeypatch.setattr(History, "chats", fail)
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: "the disk [is] broken" in frames.screen())
        assert "No chats" in state(app)


async def test_enter_before_the_last_chat_is_there_sends_nothing_elsewhere(
    start, database, monkeypatch
) -> None:
    with History(database) as history:
        history.new_chat("the last chat")
    read = Gate(monkeypatch, "entries")
    app = start(ScriptedModel([text("Answer."), done("Answer.")]))
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, read.entered.is_set)
        await pilot.press("a", "enter")
        await pilot.press("ctrl+n")
        read.go_on.set()
        await until(pilot, lambda: state(app) == "Ready")
        assert "the last chat" in frames.screen()
        assert app.screen.query_one(Prompt).text == "a"
        await pilot.press("enter")
        await until(pilot, lambda: "Answer." in frames.screen())
    assert app.chat.end()
    with History(database) as history:
        assert [chat.title for chat in history.chats()] == ["the last chat"]
        assert [entry.text for entry in history.entries(1)] == ["the last chat", "a", "Answer."]


async def test_a_chat_that_cannot_be_measured_is_still_answered(start, monkeypatch) -> None:
    model = ScriptedModel([text("Answer."), done("Answer.")])
    app = start(model)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")

        def broken(*words, **more):
            raise RuntimeError("no")

        with monkeypatch.context() as context:
            context.setattr("assistant.conversation.model_thread.see", broken)
            app.chat._model.look(1)
            with pytest.raises(RuntimeError):
                app.chat._model.show(1, "").result(PATIENCE)
        await say(pilot, "hello")
        await until(pilot, lambda: "tokens/s" in state(app))


async def test_another_chat_while_a_reply_begins_leaves_no_reply_behind(start) -> None:
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        transcript = app.chat._transcript
        for _ in range(5):
            beginning = asyncio.create_task(transcript.begin_reply())
            await asyncio.sleep(0)
            await transcript.show([Notice("another chat")])
            await beginning
            assert transcript.live is None
            await transcript.add(Notice("more"))
            assert [str(view.render()) for view in transcript._messages.children] == ["another chat", "more"]


def test_a_report_that_comes_as_the_screen_falls_asleep_wakes_it(start) -> None:
    screen = start(ScriptedModel()).chat
    woken = []
    screen.post_message = woken.append

    class Meanwhile(deque):
        """The screen takes the last report between the model's thread looking and adding."""

        def append(self, report) -> None:
            self.clear()
            super().append(report)

    screen._reports = Meanwhile([Problem("being taken")])
    screen._receive(Problem("next"))
    assert len(woken) == 1
