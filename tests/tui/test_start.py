"""The way from the command to the first paint, in a real terminal, and what may be imported on it."""

import argparse
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assistant.models.bundled import base_model
from assistant.tui.cli import add_arguments_chat, run_chat
from tests.tui.scripted import PATIENCE

HEAVY = ("llama_cpp", "numpy", "jinja2", "huggingface_hub", "torch", "transformers", "gguf", "tokenizers")
PAINT = """
import asyncio, sys, threading
from pathlib import Path
from assistant.tui.app import ChatApp

never = threading.Event()
app = ChatApp(lambda progress: never.wait(), Path(sys.argv[1]))

async def main():
    async with app.run_test() as pilot:
        await pilot.pause()
        print([name for name in sys.argv[2:] if name in sys.modules])

asyncio.run(main())
"""


def test_nothing_heavy_is_imported_before_the_first_paint(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PAINT, str(tmp_path / "history.db"), *HEAVY]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.stdout.strip() == "[]", ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_the_command_paints_in_a_terminal_and_quits(tmp_path: Path) -> None:
    import pty

    environment = os.environ | {"TAKEBACK_HOME": str(tmp_path), "TERM": "xterm-256color", "COLUMNS": "90"}
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "assistant.cli", "--threads", "1", "--model", str(base_model())]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        try:
            _read_until(ours, b"A chat with a model", seconds=PATIENCE)
            _read_until(ours, b"Ready", seconds=PATIENCE)
            os.write(ours, b"\x11")
            _read_until(ours, b"\x1b[?1049l", seconds=PATIENCE)
            assert process.wait(timeout=PATIENCE) == 0
        finally:
            process.kill()
            os.close(ours)
    assert (tmp_path / "history.db").is_file()


def test_without_a_terminal_the_command_says_what_to_do_instead(tmp_path: Path) -> None:
    environment = os.environ | {"TAKEBACK_HOME": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", "assistant.cli"], capture_output=True, text=True, env=environment, timeout=PATIENCE,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.strip() == (
        "takeback: error: the chat needs a terminal; without one, use: takeback --plain, "
        "or for one reply: takeback ask TEXT"
    )


@pytest.mark.parametrize(("flags", "begin_new"), [([], False), (["--system", "Be brief."], True)])
def test_only_the_flag_begins_a_new_chat(tmp_path: Path, monkeypatch, flags, begin_new: bool) -> None:
    monkeypatch.setenv("TAKEBACK_HOME", str(tmp_path))
    monkeypatch.setenv("TAKEBACK_SYSTEM", "Be kind.")
    monkeypatch.setenv("TERM", "xterm-256color")
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    made: list[dict[str, object]] = []

    class App:
        return_code = 0

        def __init__(self, *arguments, **options) -> None:
            made.append(options)
            self.chat = self

        def run(self) -> None: ...

        def end(self) -> bool:
            return True

    monkeypatch.setattr("assistant.tui.app.ChatApp", App)
    parser = argparse.ArgumentParser()
    add_arguments_chat(parser)
    assert run_chat(parser.parse_args(flags)) == 0
    assert made[0]["system"] == (flags[1] if flags else "Be kind.")
    assert made[0]["begin_new"] is begin_new


def _read_until(terminal: int, words: bytes, seconds: float) -> None:
    seen = b""
    end = time.monotonic() + seconds
    while words not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
        assert ready, f"no {words!r} within {seconds} s in {seen[-2000:]!r}"
        try:
            seen += os.read(terminal, 1 << 16)
        except OSError:  # Linux's way to say that the other side is closed
            assert words in seen, seen[-2000:]
            return
