"""Signals to the chat in a real terminal: it ends in order or goes on, and nothing that was written is lost."""

import os
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from assistant.conversation.history import History
from assistant.models.bundled import base_model
from tests.engine.tiny_models import write_dense_model
from tests.tui.scripted import PATIENCE
from tests.tui.terminal import COMMAND, Terminal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
BEGIN, END = b"\x1b[?1049h", b"\x1b[?1049l"
"""What makes a terminal show the chat's own screen, and again what was there before."""


@pytest.fixture
def terminal(tmp_path):
    """Opens the chat with words in its prompt that are not sent."""
    opened = []

    def start(model: Path | None = None) -> Terminal:
        model = model or write_dense_model(tmp_path / "tiny.gguf")
        command = [*COMMAND, "--threads", "1", "--model", str(model)]
        opened.append(Terminal(command, tmp_path / "home"))
        opened[0].until(b"Ready")
        return opened[0]

    yield start
    for one in opened:
        one.close()


def unsent(home: Path) -> str:
    with closing(History(home / "history.db")) as history:
        return history.unsent(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_chat_as_its_own_key_does(terminal, tmp_path, number) -> None:
    opened = terminal()
    opened.write(b"not sent")
    opened.until(b"not sent")
    assert not opened.as_before
    opened.chat.send_signal(number)
    opened.until(END)
    assert opened.chat.wait(PATIENCE) == 128 + number
    assert opened.as_before
    assert unsent(tmp_path / "home") == "not sent"


def test_a_terminal_that_is_closed_ends_the_chat_and_loses_nothing(terminal, tmp_path) -> None:
    opened = terminal()
    opened.write(b"not sent")
    opened.until(b"not sent")
    opened.hang_up()
    assert opened.chat.wait(PATIENCE) == 128 + signal.SIGHUP
    assert unsent(tmp_path / "home") == "not sent"


def test_a_chat_that_is_suspended_goes_on_where_it_was(terminal, tmp_path) -> None:
    opened = terminal()
    opened.write(b"not sent")
    opened.until(b"not sent")
    opened.chat.send_signal(signal.SIGTSTP)
    opened.until(END)
    _, status = os.waitpid(opened.chat.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status) and opened.as_before, "the shell has the terminal"
    opened.chat.send_signal(signal.SIGCONT)
    opened.until(BEGIN)
    assert b"not sent" in opened.until(b"Ready"), "all is painted again"
    opened.write(b" yet\r")
    opened.until(b"tokens/s")  # it is answered
    opened.chat.send_signal(signal.SIGTERM)
    opened.until(END)
    assert opened.chat.wait(PATIENCE) == 128 + signal.SIGTERM
    with closing(History(tmp_path / "home" / "history.db")) as history:
        said = history.entries(history.chats()[0].id)
    assert [(entry.role, entry.state) for entry in said] == [("user", "settled"), ("assistant", "settled")]
    assert said[0].text == "not sent yet"


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, None], ids=["SIGTERM", "SIGHUP", "hung up"]
)
def test_what_was_shown_of_a_reply_is_kept(terminal, tmp_path, number) -> None:
    opened = terminal(base_model())
    opened.write(b"Tell me a long story about the sea.\r")
    opened.until("Writing…".encode())
    time.sleep(1)
    opened.write(b"not sent")
    opened.until(b"not sent")
    if number is None:
        opened.hang_up()
    else:
        opened.chat.send_signal(number)
        opened.until(END)
    assert opened.chat.wait(PATIENCE) == 128 + (number or signal.SIGHUP)
    with closing(History(tmp_path / "home" / "history.db")) as history:
        chat = history.chats()[0].id
        said, reply = history.entries(chat)
        assert history.unsent(chat) == "not sent"
    assert said.text == "Tell me a long story about the sea."
    assert reply.state == "settled" and reply.reason == "cancelled" and reply.text


@pytest.mark.slow
def test_a_killed_chat_keeps_what_was_shown_until_a_second_before(terminal, tmp_path) -> None:
    opened = terminal(base_model())
    opened.write(b"Tell me a long story about the sea.\r")
    opened.until("Writing…".encode())
    time.sleep(3)
    opened.chat.kill()
    opened.chat.wait()
    with closing(History(tmp_path / "home" / "history.db")) as history:
        said, reply = history.entries(history.chats()[0].id)
    assert said.text == "Tell me a long story about the sea."
    assert (reply.state, reply.reason) == ("unfinished", "killed") and reply.text
