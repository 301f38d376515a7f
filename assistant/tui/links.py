"""Addresses in a message, and the way to the browser, which only the user's own word opens."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

from convert.errors import TakebackError
from convert.untrusted import clean

SCHEMES = ("http", "https", "mailto")
LONGEST = 2_000
"""Characters of an address; longer ones hide where they lead."""

BARE = re.compile(r"(?:https?://|mailto:)[^\s<>\"'`()\[\]{}\\^|]+(?<![.,;:!?])", re.IGNORECASE)
"""An address that stands in a text as it is."""


def openable(address: str) -> bool:
    """Whether this program would open an address: of a known kind, with a host, and all of it to be seen."""
    if len(address) > LONGEST or not address.isprintable() or " " in address or clean(address) != address:
        return False
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        return False
    if parts.scheme not in SCHEMES:
        return False
    return "@" in parts.path if parts.scheme == "mailto" else bool(host)


def leads_to(address: str) -> str:
    """The host or the mailbox that an address leads to, which its length or a name before `@` may hide."""
    parts = urlsplit(address)
    return parts.path if parts.scheme == "mailto" else parts.hostname or ""


def opener(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> list[str]:
    """The command that hands an address to the user's browser.

    Raises:
        TakebackError: there is none, or the user's screen is elsewhere.
    """
    if platform == "darwin":
        return ["open"]
    if platform == "win32":
        return ["rundll32", "url.dll,FileProtocolHandler"]
    wsl = ["wslview"] if environment.get("WSL_DISTRO_NAME") else []
    if wsl or environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"):
        for command in (*wsl, "xdg-open"):
            if found := shutil.which(command):
                return [found]
    raise TakebackError("no browser can be opened from here; copy the address instead")


def open_link(address: str) -> None:
    """Hand an address to the user's browser. It is one argument of a program; no shell sees it.

    Raises:
        TakebackError: it may not be opened, or cannot.
    """
    if not openable(address):
        raise TakebackError("only complete http, https and mailto addresses are opened")
    command = [*opener(), address]
    try:
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # what it says would be written over the screen
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise TakebackError(f"{command[0]}: {error.strerror or error}; copy the address instead") from error
