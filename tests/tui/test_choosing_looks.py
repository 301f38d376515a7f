"""What the screens to choose in look like, in three sizes of terminal."""

from pathlib import Path

import pytest

from assistant.conversation.presets import save_preset
from assistant.models.facts import Facts
from assistant.settings import load_settings
from assistant.tui import models
from assistant.tui.chat_form import ChatForm, PresetsScreen
from assistant.tui.form import Form
from assistant.tui.models import ModelsScreen, _Row
from assistant.tui.pull import PullScreen
from assistant.tui.widgets.confirm import Confirm
from convert.hub_part import Stated
from tests.tui.scripted import ScriptedModel, until
from tests.tui.test_choosing import field, listed, said, state

two_sizes = pytest.mark.parametrize("size", [(80, 24), (40, 12)], ids=["80x24", "40x12"])
three_sizes = pytest.mark.parametrize(
    "size", [(80, 24), (40, 12), (200, 60)], ids=["80x24", "40x12", "200x60"]
)

ROWS = [
    _Row("default", Path("d"), 141_000_000, Facts(2048, True, "")),
    _Row(
        "Llama-3.2-1B-Instruct-Q4_K_M",
        Path("l"),
        808_000_000,
        Facts(
            131_072,
            False,
            "it has no reset token, so it cannot take back what it says, and runs as an ordinary model",
        ),
    ),
    _Row("orange-7B-takeback", Path("o"), 4_370_000_000, Facts(32_768, True, "")),
    _Row("torn", Path("t"), 12_000_000, None, "torn.gguf: it ends within its header; get it again"),
]


@pytest.fixture
def app(start, tmp_path, monkeypatch):
    monkeypatch.setenv("TAKEBACK_HOME", str(tmp_path))
    monkeypatch.setattr(models, "_listed", lambda own: list(ROWS))
    monkeypatch.setattr("assistant.tui.models.facts", lambda path: None)
    monkeypatch.setattr(
        "assistant.tui.configuring.config_path", lambda: Path("~/.config/takeback/config.toml")
    )
    return start(
        ScriptedModel(),
        models=("default", lambda name: lambda progress: ScriptedModel()),
        read_settings=lambda: load_settings({}, environment={}),
    )


async def opened(pilot, command: str, screen: type) -> None:
    await until(pilot, lambda: state(pilot.app) == "Ready")
    pilot.app.chat.call_later(getattr(pilot.app.chat, f"action_{command}"))
    await until(pilot, lambda: type(pilot.app.screen) is screen)


@three_sizes
def test_the_list_of_models(snap_compare, app, size) -> None:
    async def look(pilot) -> None:
        await opened(pilot, "model", ModelsScreen)
        await until(pilot, lambda: len(listed(app)) == len(ROWS))
        await pilot.press("down")
        await until(pilot, lambda: "ordinary model" in said(app))

    assert snap_compare(app, terminal_size=size, run_before=look)


@two_sizes
def test_the_question_before_a_model_is_removed(snap_compare, app, size) -> None:
    async def look(pilot) -> None:
        await opened(pilot, "model", ModelsScreen)
        await until(pilot, lambda: len(listed(app)) == len(ROWS))
        await pilot.press("down", "ctrl+d")
        await until(pilot, lambda: isinstance(app.screen, Confirm))

    assert snap_compare(app, terminal_size=size, run_before=look)


@two_sizes
def test_the_files_of_a_repository(snap_compare, app, size, monkeypatch) -> None:
    names = ("orange-Q4_K_M.gguf", "orange-Q8_0.gguf", "orange-BF16.gguf")
    files = [
        Stated(name, size * 1_000_000, "0" * 64) for name, size in zip(names, (808, 1321, 2480), strict=True)
    ]
    monkeypatch.setattr("assistant.tui.pull.list_gguf", lambda source: files)

    async def look(pilot) -> None:
        await opened(pilot, "model", ModelsScreen)
        await pilot.press("f3")
        await until(pilot, lambda: isinstance(app.screen, PullScreen))
        await pilot.press(*"orange", "slash", *"orange-GGUF", "enter")
        await until(pilot, lambda: len(listed(app)) == len(files) and "Which one" in said(app))

    assert snap_compare(app, terminal_size=size, run_before=look)


@two_sizes
def test_a_model_that_is_being_fetched(snap_compare, app, size, monkeypatch) -> None:
    async def look(pilot) -> None:
        await opened(pilot, "model", ModelsScreen)
        app.chat._fetching.runs, app.chat._fetching.what = True, "orange-Q8_0.gguf"
        app.chat._fetching._step, app.chat._fetching._since = (420_000_000, 1_321_000_000), (1e12, 0)
        await pilot.press("f3")
        await until(pilot, lambda: isinstance(app.screen, PullScreen) and "31 %" in said(app))

    assert snap_compare(app, terminal_size=size, run_before=look)


@three_sizes
def test_the_options_of_a_chat(snap_compare, app, size) -> None:
    async def look(pilot) -> None:
        await opened(pilot, "options", ChatForm)
        field(app, "system").fill("You are brief, and kind.\nYou know all about oranges.")
        field(app, "temperature").go_here()
        await pilot.press(*"200")
        await until(pilot, lambda: "it must be from" in said(app))

    assert snap_compare(app, terminal_size=size, run_before=look)


@two_sizes
def test_presets(snap_compare, app, size) -> None:
    save_preset("Exact", {"temperature": 0.0, "seed": 7, "system": "Say only what you know."})
    save_preset("Playful", {"temperature": 1.2, "top_p": 0.95, "xtc": 0.3})

    async def look(pilot) -> None:
        await opened(pilot, "preset", PresetsScreen)
        await until(pilot, lambda: len(listed(app)) == 2)

    assert snap_compare(app, terminal_size=size, run_before=look)


@three_sizes
def test_the_settings(snap_compare, app, size) -> None:
    async def look(pilot) -> None:
        await opened(pilot, "settings", Form)
        field(app, "after_reset").go_here()
        await pilot.press("right")
        await until(pilot, lambda: "after a reset" in said(app))

    assert snap_compare(app, terminal_size=size, run_before=look)
