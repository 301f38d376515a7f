"""`takeback chats`."""

import argparse
import json
from pathlib import Path

import pytest

from assistant.conversation import shelf
from assistant.conversation.cli import add_arguments_chats, run_chats
from assistant.conversation.history import History
from convert.errors import TakebackError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("TAKEBACK_HOME", str(tmp_path))
    with History(tmp_path / "history.db") as history:
        chat, _ = history.new_chat("Tell me about \x1b[31moranges")
        history.settle(history.begin(chat), "They are round.\x1b]0;x\x07", reason="cancelled")
    return tmp_path


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments_chats(parser)
    return run_chats(parser.parse_args(words))


def test_list_and_search_name_the_chat(capsys) -> None:
    assert run() == 0
    assert run("search", "round") == 0
    out = capsys.readouterr().out
    assert out.count("Tell me about \N{REPLACEMENT CHARACTER}[31moranges") == 2
    assert "[round]" in out
    assert "\x1b" not in out


def test_show_and_markdown_are_fit_for_a_terminal(capsys) -> None:
    for words in (("show", "1"), ("export", "1"), ("export", "1", "--md")):
        assert run(*words) == 0
        out = capsys.readouterr().out
        assert "## You" in out
        assert "*(stopped by you)*" in out
        assert "\x1b" not in out


def test_json_is_what_ask_reads(capsys) -> None:
    assert run("export", "1", "--json") == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    messages = json.loads(out)["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[1]["content"] == "They are round.\x1b]0;x\x07"


def test_rename(capsys) -> None:
    assert run("rename", "1", "Sour", "\x1b[31moranges") == 0
    assert run("list") == 0
    out = capsys.readouterr().out
    assert out.count("Sour \N{REPLACEMENT CHARACTER}[31moranges") == 2


def test_delete_and_unknown_ids(capsys) -> None:
    assert run("delete", "--now", "1") == 0
    for number in ("1", "-5", str(1 << 70)):
        with pytest.raises(TakebackError, match="takeback chats"):
            run("show", "--", number)
    assert run("list") == 0
    assert run("search", "round") == 0
    with pytest.raises(TakebackError, match="no chat that was deleted"):
        run("undo")


def test_what_was_deleted_comes_back_for_an_hour_and_then_is_gone(home: Path, monkeypatch, capsys) -> None:
    assert run("delete", "1") == 0
    with pytest.raises(TakebackError, match="there is no chat 1"):
        run("show", "1")
    with pytest.raises(TakebackError, match="no chat 7 that was deleted"):
        run("undo", "7")
    assert run("undo") == 0
    assert run("search", "round") == 0
    assert "[round]" in capsys.readouterr().out
    assert run("delete", "1") == 0
    assert b"They are round" in (home / "history.db").read_bytes()
    now = shelf.time.time()
    monkeypatch.setattr(shelf.time, "time", lambda: now + shelf.SECONDS_TO_BRING_BACK + 1)
    assert run("list") == 0
    assert not any(b"They are round" in file.read_bytes() for file in home.iterdir() if file.is_file())
    with pytest.raises(TakebackError, match="no chat that was deleted"):
        run("undo")


def test_a_chat_that_another_program_brought_back_is_not_deleted_at_its_end(home: Path) -> None:
    with History(home / "history.db") as history:
        history.hide(1)
        assert run("undo") == 0
    assert run("show", "1") == 0


def test_help_teaches_each_action(capsys) -> None:
    parser = argparse.ArgumentParser()
    add_arguments_chats(parser)
    told = parser.format_help()
    for action in ("list", "search", "show", "rename", "export", "import", "delete", "undo"):
        assert f"    {action} " in told
        with pytest.raises(SystemExit):
            run(action, "--help")
    assert "--json" in capsys.readouterr().out
