"""Edited messages and replies written again: the old branch is kept and can be shown."""

from pathlib import Path

import pytest

from assistant.conversation.history import History
from tests.conversation.test_history import CANARY, traces


@pytest.fixture
def history(tmp_path: Path):
    with History(tmp_path / "history.db") as store:
        yield store


def texts(history: History, chat: int) -> list[str]:
    return [entry.text for entry in history.entries(chat)]


def reply(history: History, chat: int, text: str, **place: int) -> int:
    message = history.begin(chat, **place)
    history.settle(message, text, reason="stop")
    return message


def test_an_edited_message_begins_a_branch_and_keeps_the_old_one(history: History) -> None:
    chat, first = history.new_chat("one")
    reply(history, chat, "to one")
    second = history.say(chat, "two")
    reply(history, chat, "to two")
    edited = history.say(chat, "two, better", instead_of=second)
    assert texts(history, chat) == ["one", "to one", "two, better"]
    reply(history, chat, "to the better")
    assert not history.show_version(edited, 1)
    assert history.show_version(edited, -1)
    assert texts(history, chat) == ["one", "to one", "two", "to two"]
    assert [(e.version, e.versions) for e in history.entries(chat)] == [(1, 1), (1, 1), (1, 2), (1, 1)]
    assert history.show_version(second, 1)
    assert texts(history, chat)[-1] == "to the better"
    other = history.say(chat, "one, better", instead_of=first)
    assert texts(history, chat) == ["one, better"]
    assert history.show_version(other, -1)
    assert texts(history, chat) == ["one", "to one", "two, better", "to the better"]


def test_a_reply_written_again_is_another_version(history: History) -> None:
    chat, _ = history.new_chat("hello")
    first = reply(history, chat, "first")
    reply(history, chat, "second", instead_of=first)
    last = history.entries(chat)[-1]
    assert (last.text, last.version, last.versions) == ("second", 2, 2)
    assert [hit.message for hit in history.search("first")] == [first]
    history.show_branch(first)
    assert texts(history, chat) == ["hello", "first"]


def test_pages_of_a_branch_go_backwards(history: History) -> None:
    chat, first = history.new_chat("0")
    for number in range(1, 6):
        history.say(chat, str(number))
    history.say(chat, "other", instead_of=first)
    history.show_branch(first)
    last = history.entries(chat, limit=2)
    assert [entry.text for entry in last] == ["4", "5"]
    assert [entry.text for entry in history.entries(chat, before=last[0].id, limit=3)] == ["1", "2", "3"]
    assert history.entries(chat, before=first) == []


def test_an_erased_message_leaves_nothing_and_what_follows_stays(history: History, tmp_path: Path) -> None:
    chat, _ = history.new_chat("hello")
    cut = reply(history, chat, f"{CANARY} " * 400)
    for number in range(30):
        history.say(chat, f"after {number} " + "word " * 90)
    history.erase(cut)
    assert texts(history, chat)[:2] == ["hello", "after 0 " + "word " * 90]
    assert traces(tmp_path) == []
    again = reply(history, chat, "the end")
    history.erase(again)
    assert texts(history, chat)[-1].startswith("after 29")
    history._database.execute("INSERT INTO search (search) VALUES ('integrity-check')")
