"""The line mode as a user runs it: the real program and the real default model, in a real terminal."""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tui.conftest import stored
from tests.tui.scripted import PATIENCE

pty = pytest.importorskip("pty")
LONG = "Write a long story about the sea."


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A home with the default model in it."""
    home = tmp_path_factory.mktemp("home")
    program(home, "Name a fruit.\n")
    return home


@pytest.fixture
def home(tmp_path: Path, request) -> Path:
    """A home without chats; with the built model in it where the test is slow enough to want it."""
    if request.node.get_closest_marker("slow"):
        model = request.getfixturevalue("built")
        for name in ("default-model", "probed"):
            (tmp_path / name).symlink_to(model / name)
    return tmp_path


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "assistant.cli", "--threads", "1", *words]


def environment(home: Path) -> dict[str, str]:
    return os.environ | {"TAKEBACK_HOME": str(home), "TERM": "dumb", "TAKEBACK_MAX_TOKENS": "300"}


def program(home: Path, lines: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The program with lines piped into it."""
    return subprocess.run(
        command("--plain", *words), input=lines, capture_output=True, text=True, env=environment(home),
        timeout=PATIENCE, check=False,
    )  # fmt: skip


class Terminal:
    """The program in a terminal of its own, which says that it is dumb."""

    def __init__(self, home: Path, *words: str) -> None:
        self.screen, theirs = pty.openpty()
        self.seen = b""
        self.process = subprocess.Popen(
            [sys.executable, "-c", CONTROLLED, *command(*words)],
            stdin=theirs, stdout=theirs, stderr=theirs, env=environment(home), start_new_session=True,
        )  # fmt: skip
        os.close(theirs)

    def types(self, keys: str) -> None:
        os.write(self.screen, keys.encode())

    def shows(self, words: str) -> str:
        """What was written since the last time, up to these words."""
        end = time.monotonic() + PATIENCE
        while words.encode() not in self.seen:
            ready, _, _ = select.select([self.screen], [], [], max(0, end - time.monotonic()))
            assert ready, f"no {words!r} in {self.seen!r}"
            self.seen += os.read(self.screen, 1 << 16)
        before, self.seen = self.seen.split(words.encode(), 1)
        text = (before + words.encode()).decode().replace("\r\n", "\n")
        assert "\x1b" not in text
        return text

    def ends(self) -> int:
        return self.process.wait(timeout=PATIENCE)


CONTROLLED = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes its terminal the one whose Ctrl-C and hang-up it hears."""


@pytest.fixture
def terminal(home: Path, request):
    def start(*words: str) -> Terminal:
        made = Terminal(home, *words)
        request.addfinalizer(lambda: (made.process.kill(), made.process.wait(), os.close(made.screen)))
        return made

    return start


def grows(home: Path) -> None:
    """Wait until something of the last reply is stored."""
    end = time.monotonic() + PATIENCE
    while not stored(home / "history.db")[-1][1].strip() or stored(home / "history.db")[-1][0] == "user":
        assert time.monotonic() < end
        time.sleep(0.3)


def test_a_dumb_terminal_gets_lines_and_a_word_on_it(terminal) -> None:
    one = terminal("--model", "no-such-file")
    assert "This terminal says that it is dumb" in one.shows("You: ")
    one.types("/help\n")
    assert "/continue: go on with a reply that was cut off" in one.shows("You: ")
    one.types("/quit\n")
    assert one.ends() == 0


def test_commands_alone_load_no_model(home: Path) -> None:
    done = program(home, "/chats\n/quit\n", "--model", "no-such-file")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "[There are no chats yet]\n")
    done = program(home, "/nonsense\n")
    assert done.returncode == 1
    assert "there is no /nonsense" in done.stderr


def test_neither_textual_nor_a_model_is_loaded_for_it(home: Path) -> None:
    code = "import sys; from assistant.cli import main; main(sys.argv[1:]); print(sorted(set(sys.modules) & {heavy}))"
    heavy = {"textual", "rich", "llama_cpp", "numpy", "jinja2"}
    done = subprocess.run(
        [sys.executable, "-c", code.format(heavy=heavy), "--plain"], input="/help\n/quit\n", capture_output=True,
        text=True, env=environment(home), timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert done.stdout.endswith("leave\n[]\n")
    done = program(home, "", "--no-such-flag")
    assert done.returncode == 2


def test_to_stream_is_for_lines_alone(home: Path) -> None:
    done = subprocess.run(
        [*command("--stream")], capture_output=True, text=True, env=environment(home), check=False
    )
    assert done.returncode == 2
    assert "--stream is for --plain" in done.stderr


@pytest.mark.slow
def test_piped_lines_are_a_talk_in_a_new_chat(home: Path) -> None:
    for chat in (1, 2):
        done = program(home, 'Name a fruit.\n"""\nName another\none.\n"""\n/show\n')
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("Assistant: ") == 4
        roles = [role for role, text, reason in stored(home / "history.db", chat)]
        assert roles == ["user", "assistant", "user", "assistant"]
    assert "1. You: Name a fruit.\n" in done.stdout
    assert "3. You: Name another\none.\n" in done.stdout


@pytest.mark.slow
def test_ctrl_c_stops_and_the_talk_goes_on(terminal, home: Path) -> None:
    one = terminal()
    one.shows("You: ")
    one.types(f"{LONG}\n")
    one.shows("The model is")
    grows(home)
    one.types("\x03")
    shown = one.shows("/continue goes on with it]")
    one.shows("You: ")
    said = stored(home / "history.db")[-1]
    assert said[2] == "cancelled"
    assert said[1].strip() in shown
    one.types("/temperature 0\n")
    one.shows("You: ")
    one.types("\x03")
    one.shows("Ctrl-C again, or /quit, leaves")
    one.types("\x03")
    assert one.ends() == 130


@pytest.mark.slow
def test_a_kill_loses_little_and_the_next_start_tells(terminal, home: Path) -> None:
    one = terminal()
    one.shows("You: ")
    one.types(f"{LONG}\n")
    one.shows("The model is")
    grows(home)
    one.process.kill()
    one.ends()
    role, text, reason = stored(home / "history.db")[-1]
    assert (role, reason) == ("assistant", "killed")
    assert text
    two = terminal()
    assert "2 messages" in two.shows("You: ")
    two.types("/show\n")
    two.shows("[unfinished]")
    two.types("/continue\n")
    two.shows("Assistant, going on: ")


@pytest.mark.slow
def test_a_closed_terminal_ends_it_in_order(terminal, home: Path) -> None:
    one = terminal()
    one.shows("You: ")
    one.types(f"{LONG}\n")
    one.shows("The model is")
    grows(home)
    one.process.send_signal(signal.SIGHUP)
    assert one.ends() == 129
    assert stored(home / "history.db")[-1][2] == "cancelled"


@pytest.mark.slow
def test_ctrl_d_leaves_and_keeps_a_message_that_was_not_ended(terminal) -> None:
    one = terminal()
    one.shows("You: ")
    one.types('"""\n')
    one.shows("More: ")
    one.types("half a question\n")
    one.shows("More: ")
    one.types("\x04")
    assert "it is kept, and /send sends it" in one.shows("sends it]")
    assert one.ends() == 0
    two = terminal()
    assert "Not sent yet: half a question" in two.shows("You: ")
    two.types("/send\n")
    two.shows("Assistant: ")
