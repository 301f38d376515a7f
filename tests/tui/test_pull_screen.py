"""A model of the hub, fetched from within the chat: from a server on this machine that speaks its protocol."""

import asyncio

from textual.widgets import Input, OptionList

from assistant.models import library
from assistant.tui.models import ModelsScreen
from assistant.tui.pull import PullScreen
from tests.models.test_pull import FILE, REPO, hub, ordinary, parts, taking_back  # noqa: F401 (fixtures)
from tests.tui.conftest import say
from tests.tui.scripted import ScriptedModel, until
from tests.tui.test_choosing import listed, said, state


async def looked_up(pilot, repo: str = REPO) -> None:
    """Ask the hub what a repository has."""
    app = pilot.app
    await until(pilot, lambda: state(app) == "Ready")
    await say(pilot, "/model")
    await until(pilot, lambda: isinstance(app.screen, ModelsScreen) and listed(app))
    await pilot.press("f3")
    await until(pilot, lambda: isinstance(app.screen, PullScreen))
    app.screen.query_one(Input).value = repo
    await pilot.press("enter")


async def test_a_model_is_fetched_and_then_marked_in_the_list(start, hub, taking_back) -> None:  # noqa: F811
    hub.files[REPO]["big [b].gguf"] = taking_back + b"x" * 3_000_000
    app = start(ScriptedModel(), models=("default", lambda name: lambda progress: ScriptedModel()))
    async with app.run_test(size=(80, 24)) as pilot:
        await looked_up(pilot, "someone/nothing")
        await until(pilot, lambda: "no such repository" in said(app))
        app.screen.query_one(Input).value = REPO
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.focused, OptionList))
        assert [line.split(" ", 2)[2] for line in listed(app)] == [FILE, "big [b].gguf"]
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen) and len(listed(app)) == 2)
        await until(pilot, lambda: "Fetched: small.Q8_0" in said(app))
        assert app.screen._marked.name == "small.Q8_0"
        await pilot.press("enter")
        await until(pilot, lambda: state(app) == "small.Q8_0 answers in this chat now")


async def test_a_stop_keeps_what_is_there_and_the_next_time_goes_on(start, hub, taking_back) -> None:  # noqa: F811
    hub.slow[FILE] = 2_000
    app = start(ScriptedModel(), models=("default", lambda name: lambda progress: ScriptedModel()))
    async with app.run_test(size=(80, 24)) as pilot:
        await looked_up(pilot)
        await until(pilot, lambda: isinstance(app.focused, OptionList))
        await pilot.press("enter")
        await until(pilot, lambda: "Fetching" in said(app) and app.chat._fetching.part > 0)
        await pilot.press("escape", "escape")  # it goes on, and is found again
        await until(pilot, lambda: app.screen is app.chat)
        await say(pilot, "/model")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen) and listed(app))
        await pilot.press("f3")
        await until(pilot, lambda: isinstance(app.screen, PullScreen) and "Fetching" in said(app))
        await pilot.press("ctrl+x")
        await until(
            pilot, lambda: "Stopped. What was fetched is kept" in said(app)
        )  # though the hub says nothing
        hub.slow.clear()
        assert library.models() == []
        assert len(parts()) == 1
        hub.asked.clear()
        app.screen.query_one(Input).focus()
        app.screen.query_one(Input).value = REPO
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.focused, OptionList))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen) and len(listed(app)) == 2)
        ranges = [wanted for command, path, wanted in hub.asked if command == "GET" and "resolve" in path]
        assert len(ranges) == 1
        assert 0 < int(ranges[0].removeprefix("bytes=").removesuffix("-")) < len(taking_back)
    assert library.find("small.Q8_0").path.read_bytes() == taking_back


async def test_what_is_left_running_is_told_of_in_the_chat(start, hub, taking_back) -> None:  # noqa: F811
    hub.slow[FILE] = 2_000
    app = start(ScriptedModel(), models=("default", lambda name: lambda progress: ScriptedModel()))
    async with app.run_test(size=(80, 24)) as pilot:
        await looked_up(pilot)
        await until(pilot, lambda: isinstance(app.focused, OptionList))
        await pilot.press("enter")
        await until(pilot, lambda: app.chat._fetching.part > 0)
        await pilot.press("escape", "escape")
        await until(pilot, lambda: app.screen is app.chat)
        hub.slow.clear()
        await until(pilot, lambda: state(app) == "Fetched small.Q8_0; /model chooses it")


async def test_a_hub_that_lies_about_a_size_leaves_nothing(start, hub) -> None:  # noqa: F811
    hub.lies[FILE] = 5_000
    app = start(ScriptedModel(), models=("default", lambda name: lambda progress: ScriptedModel()))
    async with app.run_test(size=(80, 24)) as pilot:
        await looked_up(pilot)
        await until(pilot, lambda: isinstance(app.focused, OptionList))
        await pilot.press("enter")
        await until(pilot, lambda: "does not have the size and hash" in said(app))
        assert library.models() == parts() == []
        await asyncio.sleep(0)
