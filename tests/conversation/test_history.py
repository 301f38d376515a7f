"""The store keeps what was said and nothing of what was taken back."""

import sqlite3
from pathlib import Path

import pytest

from assistant.conversation.history import TITLE_LENGTH, History
from convert.errors import TakebackError

CANARY = "canary-7f3a9"


def traces(folder: Path, word: str = CANARY) -> list[str]:
    """The files below a folder that hold a word."""
    return [path.name for path in folder.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]


@pytest.fixture
def history(tmp_path: Path):
    with History(tmp_path / "history.db") as store:
        yield store


def test_a_chat_is_read_back_as_it_was_said(history: History) -> None:
    chat, message = history.new_chat("What is\nan orange? " + "x" * 100, system="Be brief.")
    reply = history.begin(chat)
    history.settle(
        reply, "A fruit.", reason="stop", resets=2, shown_resets=1, ids=(5, 49152), vocab_sha256="v"
    )
    said, answered = history.entries(chat)
    assert (said.id, said.role, said.state) == (message, "user", "settled")
    assert (answered.text, answered.reason, answered.ids, answered.vocab_sha256) == (
        "A fruit.", "stop", (5, 49152), "v",
    )  # fmt: skip
    assert (answered.resets, answered.shown_resets) == (2, 1)
    stored = history.chat(chat)
    assert stored is not None
    assert stored.title.startswith("What is an orange?")
    assert len(stored.title) == TITLE_LENGTH
    assert stored.system == "Be brief."


def test_a_growing_reply_is_readable_but_not_searchable_until_it_is_settled(history: History) -> None:
    chat, _ = history.new_chat("hello")
    reply = history.begin(chat)
    history.grow(reply, "an aardvark so far")
    assert history.entries(chat)[-1].text == "an aardvark so far"
    assert history.search("aardvark") == []
    history.settle(reply, "an aardvark, settled", reason="stop")
    assert [hit.message for hit in history.search("aardv")] == [reply]


@pytest.mark.parametrize("length", [40, 3_000, 50_000])
def test_nothing_of_a_draft_remains_in_any_file(tmp_path: Path, length: int) -> None:
    with History(tmp_path / "history.db") as history:
        chat, _ = history.new_chat("hello")
        others = [history.begin(history.new_chat(f"another {number}")[0]) for number in range(40)]
        for other in others:  # rows beside it, so that pages split
            history.grow(other, "neighbour " * 300)
        reply = history.begin(chat)
        for end in range(10, length, max(10, length // 9)):
            history.grow(reply, (f"{CANARY} " * length)[:end])
        assert traces(tmp_path)
        history.take_back(reply)
        assert traces(tmp_path) == []
        history.grow(reply, "better")
        history.settle(reply, "better words", reason="stop", resets=1, shown_resets=1)
        assert traces(tmp_path) == []
    assert traces(tmp_path) == []


def test_a_draft_is_not_written_over_while_a_reader_keeps_the_log(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("assistant.conversation.schema.BUSY_SECONDS", 0.05)
    path = tmp_path / "history.db"
    with History(path) as history:
        chat, _ = history.new_chat("hello")
        reply = history.begin(chat)
        history.grow(reply, CANARY)
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM live").fetchall()
        history.take_back(reply)
        history.grow(reply, "new words")
        assert history.entries(chat)[-1].text == ""
        reader.close()
        history.grow(reply, "new words")
        assert history.entries(chat)[-1].text == "new words"
        assert traces(tmp_path) == []


def test_deleting_a_chat_leaves_nothing_of_it(history: History, tmp_path: Path) -> None:
    kept, _ = history.new_chat("what stays")
    for number in range(60):
        history.new_chat(f"{CANARY} {number} " + "word " * 200)
    history.settle(history.begin(kept), "stays too", reason="stop")
    for chat in history.chats():
        if chat.id != kept:
            history.delete(chat.id)
    assert traces(tmp_path) == []
    assert history.search("canary") == []
    assert [hit.chat.id for hit in history.search("stays")] == [kept, kept]
    history._database.execute("INSERT INTO search (search) VALUES ('integrity-check')")


def test_pages_of_entries_go_backwards(history: History) -> None:
    chat, _ = history.new_chat("0")
    for number in range(1, 10):
        history.say(chat, str(number))
    last = history.entries(chat, limit=4)
    assert [entry.text for entry in last] == ["6", "7", "8", "9"]
    assert [entry.text for entry in history.entries(chat, before=last[0].id, limit=4)] == ["2", "3", "4", "5"]


def test_the_chat_used_last_comes_first(history: History) -> None:
    first, _ = history.new_chat("one")
    second, _ = history.new_chat("two")
    assert [chat.id for chat in history.chats()] == [second, first]
    history.say(first, "again")
    assert [chat.id for chat in history.chats(limit=1)] == [first]


@pytest.mark.parametrize("words", ['"', "a AND", "NEAR(", "*", "text:x", "'; DROP", "\0", "-", "(", "ü 漢字"])
def test_any_words_can_be_searched(history: History, words: str) -> None:
    history.new_chat("hello")
    assert history.search(words) == []


def test_two_stores_share_a_file_and_leave_each_others_replies_alone(tmp_path: Path) -> None:
    with History(tmp_path / "history.db") as first:
        chat, _ = first.new_chat("hello")
        reply = first.begin(chat)
        first.grow(reply, "half")
        with History(tmp_path / "history.db") as second:
            assert second.entries(chat)[-1].state == "writing"
            second.say(chat, "from the second")
        first.settle(reply, "whole", reason="stop")
        assert [entry.text for entry in first.entries(chat)] == ["hello", "whole", "from the second"]


def test_lone_surrogates_are_stored_as_marks(history: History) -> None:
    chat, _ = history.new_chat("a\ud800b")
    assert history.entries(chat)[0].text == "a?b"


def test_a_newer_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    History(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(TakebackError, match=r"history\.db holds the chats of a newer takeback"):
        History(path)


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    path.write_bytes(b"no database at all " * 500)
    with pytest.raises(TakebackError, match="damaged"):
        History(path)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TakebackError, match="check the folder's rights"):
        History(tmp_path / "file" / "history.db")


def test_a_file_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "history.db").mkdir()
    with pytest.raises(TakebackError, match="cannot be written to"):
        History(tmp_path / "history.db")


def test_a_full_disk_is_one_line_and_loses_nothing(history: History) -> None:
    chat, _ = history.new_chat("hello")
    pages = history._database.execute("PRAGMA page_count").fetchone()[0]
    history._database.execute(f"PRAGMA max_page_count = {pages + 1}").fetchall()
    with pytest.raises(TakebackError, match="disk is full"):
        history.say(chat, "x" * 100_000)
    assert [entry.text for entry in history.entries(chat)] == ["hello"]


def test_a_locked_file_is_one_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("assistant.conversation.schema.BUSY_SECONDS", 0.05)
    path = tmp_path / "history.db"
    with History(path) as history:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TakebackError, match="keeps the file locked"):
            history.new_chat("hello")
        other.close()


def test_the_file_is_the_users_own(history: History, tmp_path: Path) -> None:
    assert (tmp_path / "history.db").stat().st_mode & 0o077 == 0
