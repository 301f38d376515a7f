"""What is typed, pasted or piped, as messages."""

import io
import os
import sys

import pytest

from assistant.plain.lines import Lines

pty = pytest.importorskip("pty")


class Terminal:
    """A terminal whose lines the test types, and what is said on it."""

    def __init__(self) -> None:
        self.keys, theirs = pty.openpty()
        self.source = os.fdopen(theirs, encoding="utf-8")
        self.said: list[str] = []
        self.lines = Lines(self.source, self.said.append, self.said.append)

    def types(self, text: str) -> None:
        os.write(self.keys, text.encode())


@pytest.fixture
def terminal():
    made = Terminal()
    yield made
    os.close(made.keys)
    made.source.close()


def piped(text: str) -> list[str | None]:
    lines = Lines(io.StringIO(text), sys.exit, sys.exit)  # of neither kind is a word said
    found = []
    while (message := lines.read("You: ")) is not None:
        found.append(message)
    return [*found, lines.unfinished]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("", [""]),
        ("one\ntwo\n\nthree", ["one", "two", "", "three", ""]),
        ("one\\\ntwo\n", ["one\ntwo", ""]),
        ('"""\none\n\n  two\n"""\nthree\n', ["one\n\n  two", "three", ""]),
        ('"""one"""\n"""one\ntwo"""\n', ["one", "one\ntwo", ""]),
        ('"""\n/quit\n"""\n', ["/quit", ""]),
        ('"""\none\ntwo', ["one\ntwo"]),
        ("one\\\n", ["one"]),
        ("one\r\ntwo\r\n", ["one", "two", ""]),
    ],
)
def test_lines_of_a_pipe(text: str, messages: list[str]) -> None:
    assert piped(text) == messages


def test_a_typed_line_is_a_message(terminal: Terminal) -> None:
    terminal.types("one\n")
    assert terminal.lines.read("You: ") == "one"
    assert terminal.said == ["You: "]


@pytest.mark.parametrize(("then", "message"), [("\n", "one\ntwo"), ("/drop\n", "")])
def test_pasted_lines_are_one_message_that_an_empty_line_sends(
    terminal: Terminal, then: str, message: str
) -> None:
    terminal.types("one\ntwo\n")
    lines, more = terminal.lines, terminal.said.append

    def tell(remark: str) -> None:
        more(remark)
        terminal.types(then)

    lines._tell = tell
    assert lines.read("You: ") == message
    assert "a message of 2 lines. Enter sends it" in terminal.said[1]


def test_more_may_be_written_below_a_paste_or_all_be_left(terminal: Terminal) -> None:
    typed = iter(["three\n", "\x04"])
    terminal.types("one\ntwo\n")
    terminal.lines._tell = lambda remark: terminal.types(next(typed))
    assert terminal.lines.read("You: ") is None
    assert terminal.lines.unfinished == "one\ntwo\nthree"
