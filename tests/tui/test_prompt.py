"""What the prompt offers: commands, files, what was said before, an editor; and what it keeps."""

import signal
import stat
import sys
from contextlib import nullcontext

import pytest
from textual import events

from assistant.conversation.editor import edit
from assistant.conversation.history import History
from assistant.conversation.shelf import NOT_BEGUN
from assistant.tui.chats import ChatsScreen, Opening
from assistant.tui.widgets.ask import AskLine
from assistant.tui.widgets.message import Notice
from assistant.tui.widgets.prompt import Prompt
from assistant.tui.widgets.suggestions import Suggestions
from convert.errors import TakebackError
from tests.tui.conftest import Gate, fail, say, state, stored
from tests.tui.scripted import Frames, ScriptedModel, done, happened, text, until


def offered(app) -> list[str]:
    return [suggestion.insert for suggestion in app.chat.query_one(Suggestions)._offered]


def attached(app) -> str:
    line = app.chat.query_one("#attached")
    return str(line.render()) if line.display else ""


async def ready(pilot) -> None:
    await until(pilot, lambda: state(pilot.app) == "Ready")


async def test_commands_are_suggested_and_done(start, database) -> None:
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await ready(pilot)
        await pilot.press("/")
        await until(pilot, lambda: "/new" in offered(app) and "Begin a new chat" in frames.screen())
        await pilot.press(*"ch")
        await until(pilot, lambda: offered(app) == ["/chats "])
        await pilot.press("tab", *"pears", "enter")
        await until(pilot, lambda: isinstance(app.screen, ChatsScreen))
        assert app.screen.query_one("Input").value == "pears"
        await pilot.press("escape")
        assert app.chat._prompt.text == ""
        await pilot.press(*"/ed")
        await until(pilot, lambda: offered(app) == ["/edit", "/editor"])
        await pilot.press("escape")
        await until(pilot, lambda: not app.chat.query_one(Suggestions).display)
    assert app.chat.end()
    with History(database) as history:
        assert history.chats() == []


async def test_enter_does_the_command_that_is_marked(start) -> None:
    app = start(ScriptedModel([text("Hi."), done("Hi.")]))
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await say(pilot, "hello")
        await until(pilot, lambda: "tokens/s" in state(app))
        await pilot.press(*"/ren")
        await until(pilot, lambda: offered(app) == ["/rename "])
        await pilot.press("enter", "enter")
        await until(pilot, lambda: isinstance(app.screen, AskLine))


@pytest.mark.parametrize(
    ("words", "says"), [("/nonsense", "There is no /nonsense"), ("/new chat", "Nothing may follow /new")]
)
async def test_what_is_no_command_is_told_and_not_sent(start, words: str, says: str) -> None:
    model = ScriptedModel([text("ok"), done("ok")])
    app = start(model)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        app.chat._prompt.text = words
        await pilot.press("enter")
        await until(pilot, lambda: says in state(app))
        assert app.chat._prompt.text == words
        app.chat._prompt.text = f" {words}"
        await pilot.press("enter")
        await until(pilot, lambda: "tokens/s" in state(app))
        assert model.asked[0][0].content == words


async def test_up_at_the_first_line_goes_back_over_what_was_said(start, database) -> None:
    with History(database) as history:
        chat, _ = history.new_chat("oldest\nof all")
        history.say(chat, "middle")
        history.say(chat, "newest \x1b[31m")
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        prompt = app.chat._prompt
        await pilot.press("x", "ctrl+j", "y", "up")
        assert prompt.text == "x\ny"  # it was not the first line
        await pilot.press("up")
        await until(pilot, lambda: prompt.text == "newest \N{REPLACEMENT CHARACTER}[31m")
        prompt.text = ""
        await pilot.press("a", "up", "up")
        await until(pilot, lambda: prompt.text == "middle")
        await pilot.press("up")
        await until(pilot, lambda: prompt.text == "oldest\nof all")
        await pilot.press("up", "up")
        assert prompt.text == "oldest\nof all"
        await pilot.press("down", "down")
        await until(pilot, lambda: prompt.text == "middle")
        await pilot.press("down", "down")
        await until(pilot, lambda: prompt.text == "a")


async def test_what_is_typed_without_focus_goes_into_the_prompt(start, database) -> None:
    with History(database) as history:
        history.new_chat("hello")
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        app.screen.set_focus(None)
        await pilot.press("x", "y")
        await until(pilot, lambda: app.chat._prompt.text == "xy")
        app.screen.set_focus(None)
        app.screen._update_auto_focus()  # as on the way back from another screen
        await until(pilot, lambda: app.focused is app.chat._prompt)


async def test_a_pasted_file_name_or_command_is_not_sent(start) -> None:
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        app.post_message(events.Paste("/new\n"))
        await until(pilot, lambda: app.chat._prompt.text == "/new\n")
        assert app.chat._chat is None
        assert state(app) == "Ready"


async def test_a_file_is_suggested_attached_and_sent(start, database, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes [b].txt").write_text("oranges\r\n```\nare round\n")
    (tmp_path / ".hidden").write_text("")
    (tmp_path / "more").mkdir()
    model = ScriptedModel([text("ok"), done("ok")])
    app = start(model)
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await ready(pilot)
        await pilot.press(*"see @")
        await until(pilot, lambda: offered(app)[:2] == ["@history.db", "@history.db-shm"])
        assert "@more/" in offered(app)
        assert "@.hidden" not in offered(app)
        await pilot.press(*"NOT")
        await until(pilot, lambda: offered(app) == ['@"notes [b].txt"'])
        await pilot.press("tab")
        await until(pilot, lambda: "Attaches notes [b].txt, 23 bytes" in frames.screen())
        assert app.chat._prompt.text == 'see @"notes [b].txt"'
        await pilot.press("enter")
        await until(pilot, lambda: "tokens/s" in state(app))
        assert attached(app) == ""
    sent = 'see @"notes [b].txt"\n\nFile notes [b].txt:\n\n````\noranges\n```\nare round\n````'
    assert model.asked[0][0].content == sent
    assert app.chat.end()
    assert stored(database)[0][1] == sent


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"word " * 3000, ""),
        (b"word " * 4000, "too long: 4,007 tokens, where the model has room for 3,072"),
        (b"\x89PNG\0", "no text file"),
        (b"x" * 1_100_000, "larger than 1.0 MB"),
    ],
    ids=["just fits", "too long", "binary", "large"],
)
async def test_a_file_that_cannot_be_sent_is_refused(start, tmp_path, monkeypatch, content, says) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_bytes(content)
    app = start(ScriptedModel([text("ok"), done("ok")]))
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await say(pilot, "look at @file.txt")
        if not says:
            await until(pilot, lambda: "tokens/s" in state(app))
            return
        await until(pilot, lambda: app.chat.query(Notice))
        assert says in str(app.chat.query_one(Notice).render())
        assert app.chat._prompt.text == "look at @file.txt"
        assert app.chat._chat is None


async def test_a_name_that_is_no_file_is_told_and_sent_as_words(start, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = ScriptedModel([text("ok"), done("ok")])
    app = start(model)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        app.chat._prompt.text = "ask @alice about @missing.txt and a@b.c"
        await until(pilot, lambda: attached(app) == "missing.txt: no such file, so just words")
        await pilot.press("enter")
        await until(pilot, lambda: "tokens/s" in state(app))
        assert model.asked[0][0].content == "ask @alice about @missing.txt and a@b.c"


@pytest.mark.skipif(sys.platform == "win32", reason="the editor is a script")
async def test_the_message_is_written_in_the_users_editor(start, tmp_path, monkeypatch) -> None:
    editor = tmp_path / "my editor"
    editor.write_text('#!/bin/sh\nprintf " and more\\n\\033" >> "$1"\ncp -p "$1" "$0.seen"\n')
    editor.chmod(0o700)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"'{editor}'")
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press(*"some", "ctrl+g")
        await until(pilot, lambda: "cannot be lent" in state(app))  # as a test has no terminal
        monkeypatch.setattr(app, "suspend", nullcontext)
        await pilot.press("ctrl+g")
        assert app.chat._prompt.text == "some and more\n\N{REPLACEMENT CHARACTER}"
        monkeypatch.setenv("EDITOR", "false")
        await pilot.press("ctrl+g")
        await until(pilot, lambda: "ended with status 1" in state(app))
        monkeypatch.setenv("EDITOR", str(tmp_path / "none"))
        await pilot.press("ctrl+g")
        await until(pilot, lambda: "No such file" in state(app))
        assert app.chat._prompt.text.startswith("some and more")
    assert stat.S_ISREG((tmp_path / "my editor.seen").stat().st_mode)


async def test_what_was_not_sent_is_there_after_a_restart(start, database) -> None:
    with History(database) as history:
        history.new_chat("another chat")
        history.keep_unsent(NOT_BEGUN, "for a new one")
    first = start(ScriptedModel())
    async with first.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press(*"half a", "ctrl+j", *"word", "ctrl+q")
    assert first.chat.end()
    model = ScriptedModel([text("ok"), done("ok")])
    second = start(model)
    async with second.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: second.chat._prompt.text == "half a\nword")
        await ready(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "tokens/s" in state(second))
        await pilot.press("ctrl+n")
        await until(pilot, lambda: second.chat._prompt.text == "for a new one")
    assert second.chat.end()
    with History(database) as history:
        assert history.unsent(1) == ""
        assert history.unsent(NOT_BEGUN) == "for a new one"


async def test_a_new_chat_takes_along_what_is_written(start, database) -> None:
    with History(database) as history:
        history.new_chat("another chat")
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press(*"words", "ctrl+n")
        await until(pilot, lambda: app.chat._chat is None)
        assert app.chat._prompt.text == "words"
    assert app.chat.end()
    with History(database) as history:
        assert (history.unsent(1), history.unsent(NOT_BEGUN)) == ("", "words")


async def test_a_first_message_that_was_sent_does_not_come_back(start, database) -> None:
    app = start(ScriptedModel([text("ok"), done("ok")]))
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press(*"hello", "enter")
        await until(pilot, lambda: "tokens/s" in state(app))
        await pilot.press("ctrl+n")
        await until(pilot, lambda: app.chat._chat is None)
        assert app.chat._prompt.text == ""
    assert app.chat.end()
    with History(database) as history:
        assert (history.unsent(1), history.unsent(NOT_BEGUN)) == ("", "")


async def test_what_is_written_while_a_message_is_stored_stays(start, monkeypatch) -> None:
    stored = Gate(monkeypatch, "new_chat")
    app = start(ScriptedModel([text("ok"), done("ok")]))
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        app.chat._prompt.fill("one")
        app.chat._prompt.post_message(Prompt.Sent("one"))
        await happened(pilot, stored.entered.is_set)
        app.chat._prompt.insert(" more")
        stored.go_on.set()
        await until(pilot, lambda: "tokens/s" in state(app))
        assert app.chat._prompt.text == " more"


async def test_a_new_chat_keeps_what_was_written_for_it_before(start, database) -> None:
    with History(database) as history:
        history.new_chat("another chat")
        history.keep_unsent(NOT_BEGUN, "for a new one")
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press(*"words", "ctrl+n")
        await until(pilot, lambda: app.chat._prompt.text == "for a new one\n\nwords")
        await pilot.press("ctrl+n")
        await until(pilot, lambda: app.chat._prompt.text == "for a new one\n\nwords")


async def test_opening_the_chat_that_is_shown_keeps_what_is_written(start, database) -> None:
    with History(database) as history:
        history.new_chat("hello")
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press(*"half a word")
        await app.chat._chosen(Opening(1))
        assert app.chat._prompt.text == "half a word"


async def test_what_the_store_could_not_take_is_stored_the_next_time(start, database, monkeypatch) -> None:
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        with monkeypatch.context() as broken:
            broken.setattr(History, "keep_unsent", fail)
            await pilot.press("x")
            await until(pilot, lambda: "the disk [is] broken" in state(app))
        app.chat._begin_to_keep()
        await until(pilot, lambda: not app.chat._unsent)
    assert app.chat.end()
    with History(database) as history:
        assert history.unsent(NOT_BEGUN) == "x"


async def test_a_recalled_message_that_was_changed_is_not_replaced_by_down(start, database) -> None:
    with History(database) as history:
        chat, _ = history.new_chat("older")
        history.say(chat, "newer")
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("up")
        await until(pilot, lambda: app.chat._prompt.text == "newer")
        await pilot.press("up")
        await until(pilot, lambda: app.chat._prompt.text == "older")
        await pilot.press("!", "down")
        await pilot.pause(0.2)
        assert app.chat._prompt.text == "older!"


@pytest.mark.skipif(sys.platform == "win32", reason="the editor is a script")
def test_ctrl_c_in_the_editor_ends_nothing_else(tmp_path, monkeypatch) -> None:
    script = tmp_path / "editor"
    script.write_text('#!/bin/sh\nkill -INT $PPID\nprintf " and more" >> "$1"\n')
    script.chmod(0o700)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", str(script))
    before = signal.getsignal(signal.SIGINT)
    assert edit("some") == "some and more"
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.setenv("EDITOR", "vim '")
    with pytest.raises(TakebackError, match="EDITOR cannot be read"):
        edit("some")
