"""Keys of the user's own: they work, the chat names them, and wrong ones are told in one line."""

from pathlib import Path

import pytest

from assistant.settings import load_settings, read_keys
from assistant.tui.chats import ChatsScreen
from assistant.tui.commands import COMMANDS
from assistant.tui.keys import KEYS, Keymap, parse, shown
from assistant.tui.widgets.page import Page
from assistant.tui.widgets.prompt import Prompt
from convert.errors import TakebackError
from tests.tui.conftest import state
from tests.tui.scripted import Frames, ScriptedModel, done, text, until


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"nw_chat": "ctrl+t"}, r"^config: keys\.nw_chat: no such action; there is send, new_line, "),
        ({"new_chat": 3}, r"^config: keys\.new_chat is 3; it must be keys"),
        ({"new_chat": " "}, r"^config: keys\.new_chat is ' '; it must be keys"),
        ({"new_chat": "ctr+t"}, r"^config: keys\.new_chat: 'ctr\+t' is no key"),
        ({"new_chat": "ctrl+t,"}, r"^config: keys\.new_chat: '' is no key"),
        ({"help": "f99"}, r"^config: keys\.help: 'f99' is no key"),
        ({"help": "\x1b[31m"}, "^config: keys\\.help: '\N{REPLACEMENT CHARACTER}\\[31m' is no key"),
        ({"help": "?"}, r"^config: keys\.help: \? is needed for writing"),
        ({"chats": "shift+x"}, r"^config: keys\.chats: Shift\+X is needed for writing"),
        ({"latest": "end"}, r"^config: keys\.latest: End is needed for writing; add ctrl or alt to it$"),
        ({"new_chat": "ctrl+i"}, r"^config: keys\.new_chat: many terminals cannot tell Ctrl\+I from Tab$"),
        ({"new_chat": "ctrl+o"}, r"^config: keys\.new_chat: Ctrl\+O is the key of chats already"),
        ({"send": "ctrl+s", "log": "ctrl+s"}, r"^config: keys\.send: Ctrl\+S is the key of log already"),
        ({"copy": "e"}, r"^config: keys\.copy: e is the key of edit already"),
    ],
)
def test_wrong_keys_are_told_in_one_line(table, told) -> None:
    with pytest.raises(TakebackError, match=told) as error:
        parse(table, "config")
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)


def test_the_default_keys_are_sound() -> None:
    assert parse({name: key.default for name, key in KEYS.items()}, "config").own
    assert {command.key for command in COMMANDS} - {""} <= set(KEYS)


def test_keys_have_names_for_people() -> None:
    keys = ["ctrl+n", "f1", "escape", "left", "pageup", "y", "Y", "alt+enter", "ctrl+question_mark"]
    assert [shown(key) for key in keys] == [
        *("Ctrl+N", "F1", "Esc", "←", "PageUp", "y", "Y", "Alt+Enter", "Ctrl+?"),
    ]


def test_the_table_stands_in_the_config_file_beside_the_settings(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('seed = 4\n[keys]\nnew_chat = "ctrl+t, F5"\n')
    assert load_settings(environment={}, config=config).seed == 4
    assert parse(read_keys(config), "").of("new_chat") == ("ctrl+t", "f5")
    assert read_keys(tmp_path / "none.toml") == {}
    config.write_text("keys = 3\n")
    with pytest.raises(TakebackError, match=r"config\.toml: keys must be a table"):
        load_settings(environment={}, config=config)


async def test_own_keys_work_and_are_shown(start) -> None:
    own = {
        "send": "ctrl+s",
        "new_line": "enter",
        "chats": "f4",
        "help": "f5",
        "quit": "f10",
        "palette": "f6",
        "delete": "f8",
    }
    app = start(ScriptedModel([text("Reply."), done("Reply.")]), keymap=parse(own, "config"))
    async with app.run_test(size=(120, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        assert (
            "Ctrl+S send   Enter new line   Ctrl+N new chat   F10 quit   F4 chats   F5 keys"
            in frames.screen()
        )
        await pilot.press("a", "enter", "b")
        assert app.screen.query_one(Prompt).text == "a\nb"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "tokens/s" in state(app))
        await pilot.press("f1", "ctrl+o", "ctrl+p", "ctrl+q")
        assert app.screen is app.chat
        await pilot.press("f5")
        await until(pilot, lambda: isinstance(app.screen, Page))
        await until(pilot, lambda: "Ctrl+S           send" in frames.screen())
        await pilot.press("escape", "f4")
        await until(pilot, lambda: isinstance(app.screen, ChatsScreen))
        await until(pilot, lambda: "F8 delete" in frames.screen())
        await pilot.press("f8")
        await until(pilot, lambda: "Ctrl+Z brings it back" in frames.screen())
        await pilot.press("escape", "f10")
    assert app._exit


def test_a_keymap_knows_the_defaults() -> None:
    assert Keymap().label("new_line") == "Ctrl+J"
    assert Keymap({"help": "f5,f6"}).of("help") == ("f5", "f6")
