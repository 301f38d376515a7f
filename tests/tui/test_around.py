"""Beside the chat: what is taken out of a message, links, colours, the log."""

import logging
import os
import stat
import subprocess
import threading

import pytest

from assistant.conversation.history import History
from assistant.settings import SETTINGS, load_settings
from assistant.tui import clipboard, links, logbook, sharing
from assistant.tui.excerpts import Code, Link, code_blocks
from assistant.tui.excerpts import links as links_in
from assistant.tui.log_page import LogPage
from assistant.tui.widgets.ask_link import AskLink
from assistant.tui.widgets.choose import Choose
from convert.errors import TakebackError
from tests.tui.conftest import say, state
from tests.tui.scripted import Frames, ScriptedModel, done, reset, text, until

REPLY = """Look at [the docs](https://example.com/docs) or https://x.org/a?b=c.

```python
print("one")
```

```
two
\tlines\x1b[31m
```
"""
MARK = "\N{REPLACEMENT CHARACTER}"


@pytest.fixture
def copied(monkeypatch):
    """What was copied, by way of a tool of the machine."""
    texts: list[str] = []

    def copy(words: str) -> str:
        texts.append(words)
        return "xclip"

    monkeypatch.setattr("assistant.tui.app.copy_with_tool", copy)
    return texts


@pytest.fixture
def opened(monkeypatch):
    """The addresses that were handed to the browser."""
    addresses: list[str] = []
    monkeypatch.setattr(sharing, "open_link", addresses.append)
    return addresses


@pytest.fixture
def chat(database) -> None:
    with History(database) as history:
        number, _ = history.new_chat("A question")
        history.settle(history.begin(number), REPLY, reason="stop")


# Copying


async def test_the_last_reply_is_copied_as_it_was_written_and_made_fit(start, chat, copied) -> None:
    app = start(ScriptedModel())
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "/copy")
        await until(pilot, lambda: state(app).startswith("Copied with xclip: "))
        assert copied == [REPLY.replace("\x1b", MARK)]
        await pilot.press("shift+tab", "up", "y")  # what the user said
        await until(pilot, lambda: copied[-1] == "A question")


async def test_where_no_tool_copies_the_terminal_is_asked_and_the_line_says_so(start, chat) -> None:
    app = start(ScriptedModel())
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        written: list[str] = []
        app._driver.write = written.append
        await say(pilot, "/copy")
        await until(pilot, lambda: state(app).startswith("Sent to the terminal to copy (OSC 52): "))
        assert [part for part in written if part.startswith("\x1b]52;c;")]


async def test_which_block_of_code_is_asked(start, chat, copied) -> None:
    app = start(ScriptedModel())
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "/code")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("down", "enter")
        await until(pilot, lambda: copied == [f"two\n\tlines{MARK}[31m\n"])
        await say(pilot, "/code")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.chat)
        assert len(copied) == 1


async def test_a_reply_that_is_being_written_is_not_copied(start, database, chat, copied) -> None:
    never = threading.Event()
    app = start(ScriptedModel([text("A draft"), never]))
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "more")
        await until(pilot, lambda: "A draft" in frames.screen())
        await app.chat.action_copy_message()
        assert "Not yet" in state(app)
        app.screen.text_select_all()
        await pilot.press("ctrl+c")
        await until(pilot, lambda: copied)
        assert "A draft" not in "".join(copied)
    # nor is one that another Takeback writes: it may be taken back there
    with History(database) as other:
        number, _ = other.new_chat("Elsewhere")
        other.grow(other.begin(number), "Another draft")
        app = start(ScriptedModel())
        async with app.run_test(size=(100, 30)) as pilot:
            frames = Frames(app)
            await until(pilot, lambda: state(app) == "Ready" and "Another draft" in frames.screen())
            before = list(copied)
            await app.chat.action_copy_message()
            assert "Not yet" in state(app)
            app.screen.text_select_all()
            await pilot.press("ctrl+c")
            await pilot.pause(0.2)
            assert "Another draft" not in "".join(copied[len(before) :])


async def test_the_mouse_selects_and_ctrl_c_copies(start, chat, copied) -> None:
    app = start(ScriptedModel())
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        row = next(y for y, line in enumerate(frames.screen().split("\n")) if "Look at" in line)
        column = frames.screen().split("\n")[row].index("Look")
        await pilot.mouse_down(offset=(column, row))
        await pilot.hover(offset=(column + 4, row))
        await pilot.mouse_up(offset=(column + 4, row))
        await until(pilot, app.screen.get_selected_text)
        assert app.screen is app.chat  # selecting opens no link
        await pilot.press("ctrl+c")
        await until(pilot, lambda: copied and copied[-1].startswith("Look"))


def test_the_tools_that_reach_the_users_clipboard() -> None:
    def found(platform="linux", **environment):
        return [words[0] for words in clipboard.tools(environment, platform, str)]

    assert found(WAYLAND_DISPLAY="wayland-0", DISPLAY=":0") == ["wl-copy", "xclip", "xsel"]
    assert found(DISPLAY=":0", TMUX="x") == ["xclip", "xsel", "tmux"]
    assert found("darwin") == ["pbcopy"]
    assert found("win32") == found(WSL_DISTRO_NAME="Ubuntu") == ["clip.exe"]
    assert found("darwin", SSH_TTY="/dev/pts/0") == []  # that clipboard is not where the user is
    assert found(SSH_CONNECTION="a b", DISPLAY="localhost:10.0", WAYLAND_DISPLAY="w") == ["xclip", "xsel"]
    assert clipboard.tools({"DISPLAY": ":0"}, "linux", lambda name: None) == []


def test_a_tool_gets_the_text_and_one_that_fails_is_passed_over(monkeypatch, tmp_path) -> None:
    took = tmp_path / "took"
    for name, does in (("xclip", "exit 1"), ("xsel", f"cat > {took}")):
        tool = tmp_path / name
        tool.write_text(f"#!/bin/sh\n{does}\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(
        clipboard, "tools", lambda: [("none",), ("xclip", "-selection", "clipboard"), ("xsel", "--input")]
    )
    assert clipboard.copy_with_tool("Größe\n") == "xsel"
    assert took.read_text() == "Größe\n"
    monkeypatch.setattr(clipboard, "tools", lambda: [("sleep", "60")])
    monkeypatch.setattr(clipboard, "SECONDS", 0.1)
    assert clipboard.copy_with_tool("x") is None


# Links


def test_code_and_addresses_are_found() -> None:
    assert code_blocks(REPLY) == [Code('print("one")\n', "python"), Code(f"two\n\tlines{MARK}[31m\n", "")]
    assert links_in(REPLY) == [
        Link("https://example.com/docs", "the docs"),
        Link("https://x.org/a?b=c", "https://x.org/a?b=c"),
    ]
    assert links_in("[x](javascript:alert(1)) nothing here") == []


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("https://example.com/a?b#c", True),
        ("HTTP://example.com", True),
        ("mailto:a@b.org", True),
        ("mailto:nobody", False),
        ("https:///no-host", False),
        ("file:///etc/passwd", False),
        ("ftp://example.com", False),
        ("ms-msdt:/id", False),
        ("javascript:alert(1)", False),
        ("-https://example.com", False),
        ("https://example.com/\x1b[31m", False),
        ("https://example.com/\u202egpj.exe", False),
        ("https://example.com/a b", False),
        ("https://[bad", False),
        ("https://example.com/" + "a" * 3000, False),
    ],
)
def test_which_addresses_may_be_opened(monkeypatch, address: str, may: bool) -> None:
    called = []
    monkeypatch.setattr(links, "opener", lambda: ["open"])
    monkeypatch.setattr(subprocess, "Popen", lambda command, **options: called.append((command, options)))
    assert links.openable(address) is may
    if may:
        links.open_link(address)
        assert called[0][0] == ["open", address]
        assert "shell" not in called[0][1]
    else:
        with pytest.raises(TakebackError):
            links.open_link(address)
        assert not called


def test_without_a_screen_of_the_user_nothing_is_opened() -> None:
    with pytest.raises(TakebackError, match="copy the address instead"):
        links.opener({}, "linux")
    assert links.opener({}, "darwin") == ["open"]
    assert links.leads_to("https://bank.com@evil.org/x") == "evil.org"


async def test_a_link_is_opened_only_after_a_yes(start, chat, opened, copied) -> None:
    app = start(ScriptedModel())
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "/links")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, AskLink))
        await until(pilot, lambda: "https://example.com/docs" in frames.screen())
        await pilot.press("enter", "escape")  # neither means yes
        await until(pilot, lambda: app.screen is app.chat)
        assert opened == []
        row = next(y for y, line in enumerate(frames.screen().split("\n")) if "Look at" in line)
        column = frames.screen().split("\n")[row].index("the docs")
        await pilot.click(offset=(column + 1, row))
        await until(pilot, lambda: isinstance(app.screen, AskLink))
        await pilot.press("c")
        await until(pilot, lambda: copied == ["https://example.com/docs"])
        app.chat.ask_about("https://example.com/docs")
        await until(pilot, lambda: isinstance(app.screen, AskLink))
        await pilot.press("y")
        await until(pilot, lambda: opened == ["https://example.com/docs"])
        app.chat.ask_about("file:///etc/passwd")
        await until(pilot, lambda: isinstance(app.screen, AskLink))
        await pilot.press("y")
        await until(pilot, lambda: "is not opened from here" in frames.screen())
        assert len(opened) == 1


# Colours


@pytest.mark.parametrize("theme", SETTINGS["theme"].choices)
async def test_every_theme_of_the_settings_is_there(start, theme: str) -> None:
    app = start(ScriptedModel(), theme=theme)
    async with app.run_test(size=(40, 12)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        assert app.theme == theme.replace("terminal-", "ansi-")


async def test_a_theme_is_taken_by_name_or_from_the_list_and_kept(start, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("TAKEBACK_HOME", str(tmp_path))
    (tmp_path / "config.toml").write_text('# mine\n[keys]\nhelp = "f2"\n')
    app = start(ScriptedModel())
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        assert app.theme == "dark"
        await say(pilot, "/theme light")
        await until(pilot, lambda: state(app) == "Colours: light, also from now on")
        assert app.theme == "light"
        assert load_settings(environment={}).theme == "light"
        assert "# mine" in (tmp_path / "config.toml").read_text()
        await say(pilot, "/theme pink")
        await until(pilot, lambda: "it must be one of dark, light" in state(app))
        app.chat.action_theme()
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("down", "enter")  # the present ones are marked
        await until(pilot, lambda: "terminal-dark" in state(app))
        assert app.theme == "ansi-dark"
        assert load_settings(environment={}).theme == "terminal-dark"


# The log


@pytest.fixture
def log(tmp_path):
    file = tmp_path / "logs" / "takeback.log"
    yield file
    logbook.begin(None)


async def test_the_log_has_levels_and_a_file_and_no_text_of_a_chat(start, log, database) -> None:
    draft, words = "okapi in a draft", "gnu in a reply"
    model = ScriptedModel([text(draft), reset(len(draft)), text(words), done(words, resets=1)])
    app = start(model, log=log)
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "zebra in a prompt")
        await until(pilot, lambda: "tokens/s" in state(app))
        logbook.LOG.debug("a detail")
        logbook.LOG.warning("a warning [b] \x1b[31m\nof two lines")
        await pilot.press("ctrl+l")
        await until(pilot, lambda: isinstance(app.screen, LogPage))
        await until(pilot, lambda: "draft taken back: 9 tokens" in frames.screen())
        assert f"a warning [b] {MARK}[31m of two lines" in frames.screen()
        assert "a detail" not in frames.screen()
        await pilot.press("l")
        await until(pilot, lambda: "a warning" in frames.screen() and "taken back" not in frames.screen())
        logbook.LOG.error("it came while the page was open")
        await until(pilot, lambda: "it came while" in frames.screen())
        await pilot.press("l", "l")
        await until(pilot, lambda: "a detail" in frames.screen())
    written = log.read_text()
    assert "reply: stop, 2 tokens, 1 resets" in written
    assert "a detail" not in written
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    kept = written + "".join(line for _, line in logbook.lines())
    for word in ("okapi", "gnu", "zebra"):
        assert word not in kept


def test_of_an_error_only_what_does_not_quote_is_noted_down() -> None:
    assert (
        logbook.gist("the model's chat template refuses: 'my secret'") == "the model's chat template refuses"
    )
    assert (
        logbook.gist("the model does not work: ValueError: secret") == "the model does not work: ValueError"
    )
    assert logbook.gist("x" * 500) == "x" * 120
    assert logbook.gist(": odd") == "error"


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path, capfd) -> None:
    (tmp_path / "file").write_text("")
    logbook.begin(tmp_path / "file" / "takeback.log")
    logging.getLogger("some.library").warning("hello")
    logbook.begin(None)
    assert capfd.readouterr().err == ""
    assert "some.library: hello" in logbook.lines(logging.WARNING)[-1][1]


class _BugError(Exception):
    """What no part of the program expects."""


async def test_a_failure_of_the_program_is_one_line_without_any_text_of_a_chat(
    start, chat, log, monkeypatch
) -> None:
    app = start(ScriptedModel(), log=log)

    def fails() -> None:
        secret = "zebra"
        raise _BugError(secret)

    with pytest.raises(_BugError):
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: state(app) == "Ready")
            monkeypatch.setattr(app.chat, "action_log", fails)
            await pilot.press("ctrl+l")
            lines = [str(line) for line in app._exit_renderables]
    assert lines == [
        f"takeback: error: the chat has failed: _BugError. All that was said is stored; {log} says where"
    ]
    assert "in fails" in log.read_text()
    assert "zebra" not in log.read_text()
