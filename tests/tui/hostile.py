"""Texts that try to reach the terminal, and a terminal that keeps all that is written to it."""

import random
import re

from textual.app import App
from textual.drivers.headless_driver import HeadlessDriver

from convert.untrusted import clean

MARK = "31337"
"""Is in every sequence that a text would send, and in none of Textual's."""

_PARTS = (
    *("\x1b[31337m", "\x1b]31337;title\x07", "\x1b]8;;http://31337\x1b\\", "\x1bP31337q\x1b\\", "\x9b31337m"),
    *(
        "\x9d31337\x9c",
        "\x1b[31337n",
        "\x1b[?31337l",
        "\x1bc",
        "\x1b",
        "\x07",
        "\x08",
        "\x7f",
        "\x0b",
        "\x0c",
        "\0",
    ),
    *(
        "\x85",
        "\r",
        "\r\n",
        "\n",
        "\n\n",
        "\t",
        "\u2028",
        "\u202e",
        "\u2066",
        "\u200e",
        "\u061c",
        "\U000e0041",
    ),
    *(
        "\ud800",
        "\udc9b",
        "\udfff",
        "\ufeff",
        "\u200d",
        "e\u0301",
        "日本",
        "👩\u200d👧",
        "نص",
        " ",
        " ",
        "word",
        "a",
    ),
    *(
        "[b]",
        "[/b]",
        "[/]",
        "[",
        "]",
        "\\[",
        "[@click=app.quit]x[/]",
        "[red on blue]",
        "[link='http://x']y[/link]",
    ),
    *(
        "**",
        "`",
        "```\n",
        "\n```sh\n",
        "\n# ",
        "\n- ",
        "\n> ",
        "\n1. ",
        "\n| a | b |\n|---|---|\n| c | d |\n",
        "~~",
    ),
    *(
        "[x](http://y/%1b[31337m)",
        "<https://z/%1b%5b31337m>",
        "<https://z/%E2%80%AE>",
        "&#27;[31337m",
        "&#x9b;",
    ),
    *(
        "&#8238;",
        "&#xE0041;",
        "![i](http://j/%9b31337m)",
        "<b>",
        "http://bare/\x1b[31337m",
        "{{ x }}",
        "$primary",
    ),
)

_OF_TEXTUAL = re.compile(r"\x1b\[[0-9;]*[mH]|\x1b\[\?[0-9;]+[hl]|\x1b\]22;[a-z-]*\x07")
"""Colours, places, modes, and the pointer's shape."""


def texts(count: int, seed: int = 1) -> list[str]:
    """So many different texts, each with a name to find it by."""
    rng = random.Random(seed)
    return [f"t{number}t" + "".join(rng.choices(_PARTS, k=rng.randint(2, 9))) for number in range(count)]


def without_surrogates(text: str) -> str:
    """The text as far as UTF-8 can hold it: for places that are read from bytes."""
    return text.encode("utf-8", "replace").decode()


def escaped(written: str) -> str | None:
    """What of all that was written to a terminal came from a text, with what stands around it; None: nothing."""
    left = _OF_TEXTUAL.sub("", written)
    for found in re.finditer(rf"\x1b[^A-Za-z]{{0,3}}{MARK}", written):
        return repr(written[max(0, found.start() - 40) : found.end() + 40])
    if clean(left, keep="\n\t") == left:
        return None
    at = next(place for place, character in enumerate(left) if clean(character, keep="\n\t") != character)
    return repr(left[max(0, at - 40) : at + 40])


class Terminal(HeadlessDriver):
    """A driver that writes to a list; the program takes it for a real terminal."""

    written: list[str]

    @property
    def is_headless(self) -> bool:
        """What is headless is never drawn."""
        return False

    def write(self, data: str) -> None:
        """Keep it."""
        self.written.append(data)


def recorded(app: App) -> list[str]:
    """Have an app, before it runs, write to a terminal of a test; what is written comes into the list."""
    written: list[str] = []
    app.driver_class = type("Recorder", (Terminal,), {"written": written})
    return written
