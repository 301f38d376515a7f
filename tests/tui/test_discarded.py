"""Drafts that were taken back, where the user asked beforehand to see them: marked, and in nothing else."""

import argparse
import threading

import pytest

from assistant.conversation.export import as_json, as_markdown
from assistant.conversation.history import History
from assistant.engine.events import Reset
from assistant.engine.options import GenerateOptions
from assistant.tui.cli import add_arguments_chat
from assistant.tui.widgets.draft import DRAFT_CLOSED, DRAFT_OPEN, Draft
from tests.tui.conftest import say, state
from tests.tui.scripted import Frames, ScriptedModel, done, text, until

DRAFT = "Zebrafish [b] \x1b[31mswim"


def taken_back(shown: int) -> Reset:
    return Reset(9, shown, 0, 1.0, DRAFT)


@pytest.mark.parametrize("shown", [0, 9])
async def test_a_draft_that_was_asked_for_is_marked_and_in_nothing_else(start, database, shown: int) -> None:
    go_on, end = threading.Event(), threading.Event()
    begun = [text("Zebrafish")] if shown else []
    script = [*begun, go_on, taken_back(shown), text("Better."), end, done("Better.", resets=1)]
    app = start(ScriptedModel(script), options=GenerateOptions(show_discarded=True))
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "a question")
        await until(pilot, lambda: app.chat._transcript.live is not None)
        go_on.set()
        await until(pilot, lambda: "Better." in frames.screen())
        assert DRAFT_CLOSED in frames.screen()
        assert "Zebrafish" not in frames.screen()
        end.set()
        await until(pilot, lambda: "tokens/s" in state(app))
        draft = app.screen.query_one(Draft)
        draft.focus()
        await pilot.press("enter")
        await until(pilot, lambda: "┊ Zebrafish [b] \N{REPLACEMENT CHARACTER}[31mswim" in frames.screen())
        assert DRAFT_OPEN in frames.screen()
        app.screen._select_all_in_widget(app.chat._transcript)
        assert "Better." in (app.screen.get_selected_text() or "")
        assert "swim" not in (app.screen.get_selected_text() or "")
        await pilot.press("enter")
        await until(pilot, lambda: DRAFT_CLOSED in frames.screen() and "swim" not in frames.screen())
        await pilot.press("ctrl+n")
        await until(pilot, lambda: not app.screen.query(Draft))
    assert app.chat.end()
    with History(database) as history:
        assert history.search("swim") == []
        chat = history.chats()[0]
        for export in (as_markdown, as_json):
            assert "Zebrafish" not in export(chat, history.entries(chat.id))
    assert b"swim" not in database.read_bytes()


async def test_a_draft_that_was_not_asked_for_is_nowhere(start) -> None:
    app = start(ScriptedModel([text("Zebrafish"), Reset(9, 9, 0, 1.0), text("Better."), done("Better.")]))
    async with app.run_test(size=(80, 24)) as pilot:
        frames = Frames(app)
        await until(pilot, lambda: state(app) == "Ready")
        await say(pilot, "a question")
        await until(pilot, lambda: "Better." in frames.screen())
        assert not app.screen.query(Draft)


def test_the_flag_is_off_unless_given() -> None:
    parser = argparse.ArgumentParser()
    add_arguments_chat(parser)
    assert parser.parse_args([]).show_discarded is False
    assert parser.parse_args(["--show-discarded"]).show_discarded is True
