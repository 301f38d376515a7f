"""Titles are read while others write, and where there is no store there are none."""

from pathlib import Path

from assistant.conversation.history import History
from assistant.conversation.titles import titles


def test_titles_are_read_beside_an_open_store_and_leave_nothing(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with History(path) as history:
        for words in ("one", "two", "three"):
            history.new_chat(words)
        history.put_away(2)
        assert titles(path, 9) == [(3, "three"), (1, "one")]
        assert titles(path, 1) == [(3, "three")]
    before = sorted(tmp_path.iterdir())
    assert titles(path, 9) == [(3, "three"), (1, "one")]
    assert sorted(tmp_path.iterdir()) == before


def test_without_a_store_there_are_none(tmp_path: Path) -> None:
    assert titles(tmp_path / "history.db", 9) == []
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "history.db").write_bytes(b"no store of chats" * 99)
    assert titles(tmp_path / "history.db", 9) == []
