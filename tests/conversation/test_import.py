"""`takeback chats import`: what was exported comes back, and what is no chat is one line."""

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
    return tmp_path


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments_chats(parser)
    return run_chats(parser.parse_args(words))


@pytest.mark.parametrize("form", ["--md", "--json"])
def test_an_exported_chat_comes_back(home: Path, capsys, form: str) -> None:
    said = "Oranges?\n\n# not a title\n\n*(unfinished)*"
    with History(home / "history.db") as history:
        chat, _ = history.new_chat(said, system="Be brief.")
        history.settle(history.begin(chat), "Half\n\n```\ncode\n```", reason="length")
        history.say(chat, "And pears?")
        history.settle(history.begin(chat), "Yes.", reason="stop")
        history.rename(chat, "A title")
    assert run("export", "1", form) == 0
    (home / "chat").write_text(capsys.readouterr().out)
    assert run("import", str(home / "chat")) == 0
    assert "A title" in capsys.readouterr().out
    with History(home / "history.db") as history:
        old, new = history.chat(1), history.chat(2)
        assert old is not None
        assert new is not None
        assert (new.title, new.system) == ("A title", "Be brief.")
        told = [[(e.role, e.text, e.reason, e.state) for e in history.entries(n)] for n in (1, 2)]
        assert told[0] == told[1]
        assert [hit.chat.id for hit in history.search("pears")] == [1, 2]


def test_a_list_of_messages_is_a_chat(home: Path) -> None:
    messages = [
        {"role": "user", "content": "Hi \ud83d"},
        {"role": "assistant", "content": "Yes", "reason": 7},
    ]
    (home / "chat.json").write_text(json.dumps(messages))
    assert run("import", str(home / "chat.json")) == 0
    with History(home / "history.db") as history:
        assert [(e.text, e.reason) for e in history.entries(1)] == [("Hi ?", ""), ("Yes", "stop")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds no message of the user"),
        (b"# Title\n\njust words\n", "holds no message of the user"),
        (b"\xff\xfe", "no text in UTF-8"),
        (b"[1]", "message 1 is no object"),
        (b'[{"role": "tool", "content": "x"}]', "message 1 needs content"),
        (b'[{"role": [], "content": "x"}]', "message 1 needs content"),
        (b'{"messages": 3}', "needs messages"),
        (b'{"messages": [}', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'[{"role":"user","content":"a"},{"role":"system","content":"b"}]', "message 2 is a system message"),
    ],
)
def test_what_is_no_chat_is_one_line_and_stores_nothing(home: Path, content: bytes, says: str) -> None:
    (home / "chat").write_bytes(content)
    with pytest.raises(TakebackError, match=says):
        run("import", str(home / "chat"))
    with pytest.raises(TakebackError, match="cannot be read"):
        run("import", str(home / "none"))
    with History(home / "history.db") as history:
        assert history.chats() == []
