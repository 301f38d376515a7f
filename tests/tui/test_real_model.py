"""The chat with a real model: the base that the default model is built from, one thread, few tokens."""

import pytest

from assistant.conversation.history import History
from assistant.engine.options import GenerateOptions, LoadOptions
from assistant.models.bundled import base_model
from assistant.tui.widgets.message import MessageView
from assistant.tui.widgets.page import Page
from tests.tui.conftest import state
from tests.tui.scripted import Frames, until

CONTROL_TOKEN = "<repo_name>"  # any control token will do as a reset token when a bias makes it fire


def loader(reset_token: str | None = None):
    def load(progress):
        from assistant.engine.session import Session

        return Session.open(base_model(), LoadOptions(ctx=512, threads=1, reset_token=reset_token), progress)

    return load


async def test_two_turns_are_answered_and_stored_with_their_ids(start, database) -> None:
    app = start(loader(), options=GenerateOptions(seed=1, temperature=0, max_tokens=6))
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        assert "takes back: no" in frames.screen()
        for turn, words in enumerate(("Name a fruit.", "Another?"), 1):
            app.screen.query_one("Prompt").text = words
            await pilot.press("enter")
            await until(pilot, lambda turn=turn: len(app.screen.query(MessageView)) == 2 * turn)
    assert app.chat.end()
    with History(database) as history:
        replies = [entry for entry in history.entries(1) if entry.role == "assistant"]
    assert all(1 < len(reply.ids or ()) <= 6 for reply in replies)
    assert all(
        reply.text.strip() and reply.vocab_sha256 and reply.reason in ("stop", "length") for reply in replies
    )


async def test_a_model_that_takes_back_everything_has_no_answer(start, database) -> None:
    app = start(loader(CONTROL_TOKEN), options=GenerateOptions(seed=1, reset_bias=30.0, max_resets=2))
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        assert "takes back: yes" in frames.screen()
        await pilot.press(*"hi", "enter")
        await until(pilot, lambda: "has no answer to this" in frames.screen())
    assert app.chat.end()
    with History(database) as history:
        reply = history.entries(1)[-1]
    assert (reply.text, reply.reason, reply.ids) == ("", "reset_limit", None)


async def test_quitting_while_it_writes_keeps_what_was_shown(start, database) -> None:
    app = start(loader(), options=GenerateOptions(seed=1, max_tokens=400))
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        app.screen.query_one("Prompt").text = "Tell me a long story about the sea."
        await pilot.press("enter")
        await until(pilot, lambda: state(app).startswith("Writing…"))
        await pilot.press("ctrl+q")
    assert app.chat.end()
    with History(database) as history:
        reply = history.entries(1)[-1]
    assert reply.reason == "cancelled"
    assert reply.text


async def test_a_cut_reply_is_continued_and_the_prompt_shown(start, database) -> None:
    app = start(loader(), options=GenerateOptions(seed=1, temperature=0, max_tokens=6))
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: state(app) == "Ready")
        app.screen.query_one("Prompt").text = "Count from one to twenty."
        app.chat.action_prompt()
        await until(pilot, lambda: isinstance(app.screen, Page))
        sent = str(app.screen.query_one(".page").render())
        assert sent.endswith("<|im_start|>user\nCount from one to twenty.<|im_end|>\n<|im_start|>assistant\n")
        await pilot.press("escape", "enter")
        await until(pilot, lambda: len(app.screen.query(MessageView)) == 2)
        cut = app.screen.query(MessageView).last()._parts[1].plain
        await app.chat.action_continue_reply()
        await until(pilot, lambda: app.chat._request is None)
        await until(pilot, lambda: "context" in str(app.chat.query_one("#meter").render()))
    assert app.chat.end()
    with History(database) as history:
        reply = history.entries(1)[-1]
    assert reply.text.startswith(cut)
    assert len(reply.text) > len(cut)
    assert reply.versions == 1


@pytest.mark.slow
async def test_a_reply_that_fills_the_context_ends_in_order_and_the_chat_goes_on(start, database) -> None:
    def load(progress):
        from assistant.engine.session import Session

        return Session.open(base_model(), LoadOptions(ctx=96, threads=1), progress)

    app = start(load, options=GenerateOptions(seed=1, temperature=0))
    async with app.run_test(size=(100, 30)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        for turn in (1, 2, 3):
            app.screen.query_one("Prompt").text = f"Tell me a long story about the sea, number {turn}."
            await pilot.press("enter")
            await until(pilot, lambda turn=turn: len(app.screen.query(MessageView)) == 2 * turn)
        assert "The context is full" in frames.screen()
        assert any("no longer sees" in str(notice.render()) for notice in app.chat.query(".notice"))
    assert app.chat.end()
    with History(database) as history:
        replies = [entry for entry in history.entries(1) if entry.role == "assistant"]
    assert [bool(reply.text) for reply in replies] == [True] * 3
    assert {reply.reason for reply in replies} <= {"context_full", "stop"}


@pytest.fixture(autouse=True)
def base_is_installed() -> None:
    assert base_model().is_file()
