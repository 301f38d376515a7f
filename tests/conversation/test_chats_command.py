"""`takeback chats`."""

import argparse
import json
from pathlib import Path

import pytest

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


def test_delete_and_unknown_ids(capsys) -> None:
    assert run("delete", "1") == 0
    for number in ("1", "-5", str(1 << 70)):
        with pytest.raises(TakebackError, match="takeback chats"):
            run("show", "--", number)
    assert run("list") == 0
    assert run("search", "round") == 0
