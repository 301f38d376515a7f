"""What of a draft that was shown, and then taken back, still stands in the process's memory: counted, and bounded."""

import struct
import sys

import pytest

from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions, LoadOptions
from assistant.engine.session import Session
from assistant.models.bundled import base_model
from tests.memory_search import count_in_memory
from tests.tui.terminal import Terminal

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="no /proc to search")]

TOKENS = 40
MOST = 60
"""Copies of a draft's piece that may be left; docs/faults.md says how many were found."""
QUESTION = "Tell me about the sea."
RESET = "<repo_name>"  # any control token stands for the reset token of a model that has none
SETTINGS = {
    "SEED": "1",
    "TEMPERATURE": "0",
    "HOLD_BACK": "0",
    "MAX_RESETS": "0",
    "CTX": "512",
    "THREADS": "1",
}
CHAT = """
import sys
import assistant.engine.session as session_module
from assistant.cli import main
from assistant.engine.generate import ResetRule
from tests.tui.test_freed_memory import RESET, TOKENS

class AfterAll(ResetRule):
    def fires(self, model):
        super().fires(model)
        vars(self)["checks"] = vars(self).get("checks", 0) + 1
        return vars(self)["checks"] == TOKENS + 1

session_module.ResetRule = AfterAll
sys.exit(main(["--model", sys.argv[1], "--reset-token", RESET]))
"""


def the_draft() -> tuple[str, tuple[int, ...]]:
    """What the chat will show: text and ids."""
    options = GenerateOptions(seed=1, temperature=0, hold_back=0, max_tokens=TOKENS, after_reset="off")
    with Session.open(base_model(), LoadOptions(ctx=512, threads=1, reset_token=RESET)) as session:
        *_, done = session.generate([Message("user", QUESTION)], options)
    return done.text, done.ids


def test_how_much_of_a_shown_draft_is_left_in_freed_memory(tmp_path, capsys) -> None:
    text, ids = the_draft()
    piece = text[10:34]
    needles = {name: piece.encode(name) for name in ("utf-8", "utf-16-le", "utf-32-le")}
    needles |= {"ids": struct.pack("<5i", *ids[10:15])}
    environment = {f"TAKEBACK_{name}": value for name, value in SETTINGS.items()}
    terminal = Terminal([sys.executable, "-c", CHAT, str(base_model())], tmp_path / "home", **environment)
    try:
        terminal.until(b"Ready")
        terminal.write(QUESTION.encode() + b"\r")
        shown = terminal.until(b"Taken back")
        assert text[10:18].encode() in shown, "it was on the screen"
        at_once = count_in_memory(terminal.chat.pid, needles | {"known": QUESTION.encode()})
        terminal.write(b"words that are typed")
        terminal.until(b"are typed")
        later = count_in_memory(terminal.chat.pid, needles)
        files = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
        assert files and not any(needle in path.read_bytes() for path in files for needle in needles.values())
    finally:
        terminal.close()
    with capsys.disabled():
        print(f"\n{piece!r} taken back, found at once {at_once}, after typing {later}")
    assert at_once.pop("known"), "the search finds what is there"
    assert at_once.pop("ids") == later.pop("ids") == 0
    assert sum(at_once.values()) <= MOST and sum(later.values()) <= MOST
