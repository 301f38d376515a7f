"""A chat line by line whose model is played."""

from pathlib import Path
from queue import SimpleQueue

import pytest

from assistant.conversation.history import History
from assistant.conversation.model_thread import ModelThread
from assistant.plain.lines import Lines
from assistant.plain.run import run
from assistant.plain.talk import Talk
from tests.tui.scripted import PATIENCE, ScriptedModel


class Typed(list):
    """Lines that are read one by one; what is callable is called first, and stands for no line."""

    def readline(self) -> str:
        while self and callable(self[0]):
            self.pop(0)()
        return f"{self.pop(0)}\n" if self else ""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
def talk(database: Path, monkeypatch, capsys):
    """Talks with a model that plays these scripts; returns what was written: replies and results, and remarks."""
    monkeypatch.setattr(Lines, "_more_is_there", lambda lines: False)

    def say(*lines, scripts=(), stream=False, model=None) -> tuple[str, str]:
        made = model or ScriptedModel(*scripts)
        load = made if callable(made) else lambda progress: made
        with History(database) as history:
            reports: SimpleQueue = SimpleQueue()
            thread = ModelThread(load, reports.put)
            lines = Lines(Typed(lines), lambda label: None, lambda remark: None)
            one = Talk(history, thread, reports, lines)
            one.stream = stream
            assert run(one, begin_new=False) == 0
            assert thread.close(PATIENCE)
        written = capsys.readouterr()
        assert "\x1b" not in written.out + written.err
        return written.out, written.err

    return say
