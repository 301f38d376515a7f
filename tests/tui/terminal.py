"""A real terminal for the chat, of which a test is the keyboard and the screen."""

import os
import select
import subprocess
import sys
import time
from pathlib import Path

from tests.tui.scripted import PATIENCE

COMMAND = [sys.executable, "-m", "assistant.cli"]


class Terminal:
    """A terminal with a program in it; to be closed."""

    def __init__(self, command: list[str], home: Path, **environment: str) -> None:
        import fcntl
        import pty
        import termios

        self._modes = termios.tcgetattr
        self._ours, self._theirs = pty.openpty()
        self._before = self._modes(self._theirs)
        self.chat = subprocess.Popen(
            command,
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env=os.environ
            | {"TAKEBACK_HOME": str(home), "TERM": "xterm-256color", "COLUMNS": "90"}
            | environment,
            start_new_session=True,
            # The chat's own terminal, so that hanging up is a SIGHUP to it.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 (no other thread here)
        )

    def write(self, words: bytes) -> None:
        os.write(self._ours, words)

    def until(self, words: bytes) -> bytes:
        """Read until these words have come; returns all that came."""
        seen = b""
        end = time.monotonic() + PATIENCE
        while words not in seen:
            ready, _, _ = select.select([self._ours], [], [], 1)
            gone = self.chat.poll() is not None and not ready
            assert not gone and time.monotonic() < end, f"no {words!r} in {seen[-2000:]!r}"
            seen += os.read(self._ours, 1 << 16) if ready else b""
        return seen

    @property
    def as_before(self) -> bool:
        """Whether what is typed is again shown and taken as it was before the chat."""
        return self._modes(self._theirs) == self._before

    def hang_up(self) -> None:
        os.close(self._theirs)
        os.close(self._ours)
        self._ours = self._theirs = -1

    def close(self) -> None:
        self.chat.kill()
        self.chat.wait()
        if self._ours >= 0:
            self.hang_up()
