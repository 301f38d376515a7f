"""Puts text into the clipboard: with the machine's own tool where there is one, else by asking the terminal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping

SECONDS = 2.0
"""How long a tool may take; it is local, and only hands the text over."""

_WAYLAND = ("wl-copy",)
_X11 = (("xclip", "-selection", "clipboard"), ("xsel", "--clipboard", "--input"))
_MAC = ("pbcopy",)
_WINDOWS = ("clip.exe",)
_TMUX = ("tmux", "load-buffer", "-w", "-")


def tools(
    environment: Mapping[str, str] = os.environ,
    platform: str = sys.platform,
    which: Callable[[str], str | None] = shutil.which,
) -> list[tuple[str, ...]]:
    """The commands that may reach the user's clipboard here, the best one first.

    Where the user is at the other end of an SSH connection, this machine's clipboard is not the user's; only a
    forwarded X display is. tmux keeps what the terminal is asked for, unless it is asked itself.
    """
    remote = bool(environment.get("SSH_CONNECTION") or environment.get("SSH_TTY"))
    found: list[tuple[str, ...]] = []
    if environment.get("WAYLAND_DISPLAY") and not remote:
        found.append(_WAYLAND)
    if environment.get("DISPLAY"):
        found += _X11
    if platform == "darwin" and not remote:
        found.append(_MAC)
    if (platform == "win32" or environment.get("WSL_DISTRO_NAME")) and not remote:
        found.append(_WINDOWS)
    if environment.get("TMUX"):
        found.append(_TMUX)
    return [command for command in found if which(command[0])]


def copy_with_tool(text: str) -> str | None:
    """Copy with the first tool that takes the text, and name it; None where none did. It waits: not for a loop."""
    for command in tools():
        data = text.encode("utf-16-le" if command == _WINDOWS else "utf-8", errors="replace")
        try:
            # Some go on in the background, to hand the text out; a pipe to them would be waited for.
            done = subprocess.run(
                command,
                input=data,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return command[0]
    return None
