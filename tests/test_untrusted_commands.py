"""No text of a model, a file or a name sends anything to the terminal by way of a command's output."""

import os
import sys

import pytest

from assistant.ask_output import JsonOutput, RunningOutput, TerminalOutput, WholeOutput
from assistant.cli import _fail, main
from assistant.conversation.history import History
from assistant.engine.events import Done, Text
from assistant.engine.generate import ResetRule, generate
from assistant.engine.rewind import Reply
from assistant.paths import database
from convert.errors import TakebackError
from convert.untrusted import clean
from tests.engine.test_generate import END, PROMPT, RESET, Fake
from tests.tui.hostile import texts, without_surrogates

COUNTS = [60, pytest.param(10_000, marks=pytest.mark.slow)]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TAKEBACK_HOME", str(tmp_path))
    return tmp_path


def fit(written: str) -> bool:
    """Whether nothing in what was written is more than text, apart from what erases a draft of ours."""
    ours = written.replace("\r\x1b[K", "")
    return clean(ours) == ours


@pytest.mark.parametrize("count", COUNTS)
def test_chats(count: int, capsys) -> None:
    hostile = texts(count)
    with History(database()) as history:
        for said in hostile:
            chat, _ = history.new_chat(f"apple {said}")
            history.settle(history.begin(chat), said, reason="stop")
            with history._change():
                sql = "UPDATE chats SET title = ? WHERE id = ?"
                history._database.execute(sql, (without_surrogates(said), chat))
    for words in (["list"], ["search", "apple"], ["search", hostile[0]]):
        assert main(["chats", *words]) == 0
        assert fit(capsys.readouterr().out), words
    for number in range(1, count + 1, max(1, count // 200)):
        for words in (["show"], ["export"], ["export", "--json"]):
            assert main(["chats", *words, str(number)]) == 0
            assert fit(capsys.readouterr().out), words
    assert main(["chats", "search", "\udcff"]) == 0  # bytes that a shell gives


@pytest.mark.parametrize("count", COUNTS)
def test_models_and_doctor(home, count: int, capsys) -> None:
    (home / "models").mkdir()
    for said in texts(count):
        encoded = without_surrogates(said).replace("/", "∕").replace("\0", "").encode()[:200]
        (home / "models" / os.fsdecode(encoded + b"\x9b\xff.gguf")).touch()
    for words in (["models"], ["models", "show", "t0t\x1b[31m"], ["doctor"]):
        main(words)
        captured = capsys.readouterr()
        assert fit(captured.out), words
        assert fit(captured.err), words


@pytest.mark.parametrize("count", COUNTS)
def test_errors(count: int, capsys) -> None:
    for said in texts(count):
        _fail(TakebackError(said), 1)
    written = capsys.readouterr().err
    assert fit(written)
    assert written.count("\n") == count


@pytest.mark.parametrize("count", COUNTS)
def test_replies(count: int, capsys) -> None:
    pieces = [said.encode("utf-8", "surrogatepass") for said in texts(count)]
    for begin in range(0, count, 50):
        some = b"".join(pieces[begin : begin + 50])
        parts = [some[at : at + 3] for at in range(0, len(some), 3)]  # also in the middle of characters
        model = Fake([*range(1000, 1000 + len(parts)), END], size=len(parts) + 10)
        model.piece = lambda token, parts=parts: parts[token - 1000]
        events = list(generate(model, PROMPT, [], ResetRule(RESET, "rewind", 0.0), Reply(hold_back=5)))
        assert any(isinstance(event, Text) for event in events)
        assert isinstance(events[-1], Done)
        for output in (
            WholeOutput(sys.stdout),
            RunningOutput(sys.stdout, paragraphs=True),
            TerminalOutput(sys.stdout, paragraphs=False),
            JsonOutput(sys.stdout),
        ):
            for event in events:
                output.take(event)
            written = capsys.readouterr().out
            assert fit(written), type(output)
