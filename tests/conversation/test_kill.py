"""A killed process loses nothing that was said and keeps nothing that was taken back."""

import subprocess
import sys
from pathlib import Path

import pytest

from assistant.conversation.history import History

CANARY = "canary-7f3a9"
WRITE = """
import os, signal, sys
from pathlib import Path
from assistant.conversation.history import History

history = History(Path(sys.argv[1]))
chat, _ = history.new_chat("a question")
reply = history.begin(chat)
history.grow(reply, "canary-7f3a9 " * 500)
"""
UNTIL_SHOWN = WRITE + "history.grow(reply, 'shown so far')\nos.kill(os.getpid(), signal.SIGKILL)\n"
BEFORE_EMPTYING = WRITE + (
    "history._empty_log = lambda: os.kill(os.getpid(), signal.SIGKILL)\nhistory.take_back(reply)\n"
)


def run_until_killed(script: str, path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", script, str(path)], check=False, timeout=60)
    assert ended.returncode < 0


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_reply_is_marked_unfinished_once_another_opens_the_store(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    run_until_killed(UNTIL_SHOWN, path)
    with History(path) as history:
        said, reply = history.entries(history.chats()[0].id)
        assert said.text == "a question"
        assert (reply.text, reply.state, reply.reason) == ("shown so far", "unfinished", "killed")
        assert history.search("shown") == []
    assert list((tmp_path / "writers").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_kill_between_overwriting_and_emptying_the_log_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    run_until_killed(BEFORE_EMPTYING, path)
    assert CANARY.encode() in (tmp_path / "history.db-wal").read_bytes()
    with History(path) as history:
        files = [file for file in tmp_path.rglob("*") if file.is_file()]
        assert not any(CANARY.encode() in file.read_bytes() for file in files)
        assert history.entries(history.chats()[0].id)[-1].text == ""
