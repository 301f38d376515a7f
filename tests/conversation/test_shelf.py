"""Chats as wholes: renamed, deleted and brought back, what was said and what was not sent."""

import sqlite3
from pathlib import Path

import pytest

from assistant.conversation import schema, shelf
from assistant.conversation.history import History
from assistant.conversation.shelf import NOT_BEGUN
from convert.errors import TakebackError
from tests.conversation.test_history import CANARY, traces


@pytest.fixture
def history(tmp_path: Path):
    with History(tmp_path / "history.db") as store:
        yield store


def test_a_chat_is_renamed_to_one_clean_line(history: History) -> None:
    chat, _ = history.new_chat("before")
    history.rename(chat, "after\n\x1b[2J" + "x" * 100)
    renamed = history.chat(chat)
    assert renamed is not None
    assert renamed.title.startswith("after \N{REPLACEMENT CHARACTER}[2Jx")
    assert len(renamed.title) == shelf.TITLE_LENGTH
    history.rename(chat, "  ")
    assert history.chat(chat) == renamed


def test_a_hidden_chat_is_nowhere_until_it_is_brought_back(history: History) -> None:
    chat, _ = history.new_chat("oranges")
    history.hide(chat)
    assert (history.chats(), history.chat(chat), history.search("oranges"), history.said(9)) == (
        [], None, [], [],
    )  # fmt: skip
    history.bring_back(chat)
    assert [found.id for found in history.chats()] == [chat]
    assert [hit.chat.id for hit in history.search("oranges")] == [chat]


def test_a_hidden_chat_leaves_nothing_when_the_store_is_closed(tmp_path: Path) -> None:
    with History(tmp_path / "history.db") as history:
        chat, _ = history.new_chat(CANARY)
        history.keep_unsent(chat, CANARY)
        kept, _ = history.new_chat("kept")
        history.hide(chat)
        assert traces(tmp_path)
    assert traces(tmp_path) == []
    with History(tmp_path / "history.db") as history:
        assert [found.id for found in history.chats()] == [kept]


@pytest.mark.parametrize(("seconds", "remains"), [(0.0, True), (2 * shelf.SECONDS_TO_BRING_BACK, False)])
def test_a_kill_after_hiding_is_mended_later(tmp_path: Path, monkeypatch, seconds, remains) -> None:
    history = History(tmp_path / "history.db")
    chat, _ = history.new_chat(CANARY)
    history.hide(chat)
    history._writer.stop()  # as a kill does
    history._database.close()
    now = shelf.time.time()
    monkeypatch.setattr(shelf.time, "time", lambda: now + seconds)
    with History(tmp_path / "history.db") as history:
        assert history.chats() == []
        assert bool(traces(tmp_path)) is remains


def test_what_was_said_last_comes_first_and_once(history: History) -> None:
    chat, _ = history.new_chat("one")
    history.say(chat, "two")
    history.settle(history.begin(chat), "a reply", reason="stop")
    history.say(history.new_chat("three")[0], "one")
    assert history.said(9) == ["one", "three", "two"]
    assert history.said(1) == ["one"]


def test_what_was_not_sent_is_kept_by_chat(tmp_path: Path) -> None:
    with History(tmp_path / "history.db") as history:
        chat, _ = history.new_chat("hello")
        history.keep_unsent(chat, "half a question")
        history.keep_unsent(NOT_BEGUN, "a new one\ud800")
    with History(tmp_path / "history.db") as history:
        assert history.unsent(chat) == "half a question"
        assert history.unsent(NOT_BEGUN) == "a new one?"
        history.keep_unsent(chat, "")
        assert history.unsent(chat) == ""
        assert history.search("question") == []


def old_file(path: Path) -> None:
    """A file of the first version, as it was written then, with two chats in turns."""
    database = sqlite3.connect(path, isolation_level=None)
    for statement in schema._statements(schema.STEPS[0]):
        database.execute(statement)
    database.execute("PRAGMA user_version = 1")
    for number in (1, 2):
        chat = (number, f"chat {number}", None, 5.0, 6.0 + number)
        database.execute("INSERT INTO chats VALUES (?, ?, ?, ?, ?)", chat)
    for number, chat in enumerate((1, 2, 1, 1, 2)):
        role = "user" if number != 2 else "assistant"
        sql = "INSERT INTO messages (chat, role, text, state, created) VALUES (?, ?, ?, 'settled', 5.0)"
        database.execute(sql, (chat, role, f"words {number}"))
    database.close()


def test_an_old_file_is_brought_up_to_date_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    old_file(path)
    for _ in range(2):  # the second time there is nothing to do
        with History(path) as history:
            assert [chat.title for chat in history.chats()] == ["chat 2", "chat 1"]
            assert [entry.text for entry in history.entries(1)] == ["words 0", "words 2", "words 3"]
            assert [entry.text for entry in history.entries(2)] == ["words 1", "words 4"]
            assert {entry.versions for entry in history.entries(1)} == {1}
            assert len(history.search("words")) == 5
    with History(path) as history:
        first = history.entries(1)[0]
        history.say(1, "instead", instead_of=first.id)
        assert [(entry.text, entry.version, entry.versions) for entry in history.entries(1)] == [
            ("instead", 2, 2)
        ]
        assert history._database.execute("PRAGMA user_version").fetchone()[0] == schema.VERSION


def test_a_chat_that_another_program_hid_waits_until_that_one_ends(tmp_path: Path, monkeypatch) -> None:
    with History(tmp_path / "history.db") as history:
        chat, _ = history.new_chat("oranges")
        history.hide(chat)
        now = shelf.time.time()
        monkeypatch.setattr(shelf.time, "time", lambda: now + 2 * shelf.SECONDS_TO_BRING_BACK)
        History(tmp_path / "history.db").close()
        history.bring_back(chat)
        assert history.chat(chat) is not None
        history.hide(chat)
        history.delete(chat)
        with pytest.raises(TakebackError, match="deleted for good"):
            history.bring_back(chat)


def test_nothing_is_said_in_a_chat_that_was_deleted(history: History) -> None:
    chat, _ = history.new_chat("oranges")
    history.hide(chat)
    with pytest.raises(TakebackError, match="deleted meanwhile; begin a new one"):
        history.say(chat, "more")


def test_a_deletion_that_fails_midway_leaves_the_log_to_be_emptied(history: History) -> None:
    chat, _ = history.new_chat("hello")
    history._database.execute("BEGIN")  # so that VACUUM fails
    with pytest.raises(sqlite3.OperationalError):
        history._wipe()
    history._database.execute("ROLLBACK")
    assert history._log_holds_draft
    history.settle(history.begin(chat), "a reply", reason="stop")
    assert not history._log_holds_draft
