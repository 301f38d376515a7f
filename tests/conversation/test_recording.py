"""A reply's row follows its events."""

from pathlib import Path

import pytest

from assistant.conversation.history import History
from assistant.conversation.recording import Recording
from assistant.engine.events import Done, Error, Reset, Text
from convert.errors import TakebackError


def done(text: str, reason="stop", ids=(1, 2)) -> Done:
    return Done(reason, text, len(ids), 0, 0, None, None, ids)


def reset(shown: int) -> Reset:
    return Reset(5, shown, 0, 1.0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def history(tmp_path: Path):
    with History(tmp_path / "history.db") as store:
        yield store


@pytest.fixture
def clock() -> Clock:
    return Clock()


def recording(history: History, clock: Clock, problems: list[str] | None = None) -> tuple[Recording, int]:
    chat, _ = history.new_chat("hello")
    report = problems.append if problems is not None else pytest.fail
    return Recording(history, chat, "vocabulary", report, clock), chat


def test_the_row_grows_so_that_nothing_shown_for_a_second_is_not_in_it(
    history: History, clock: Clock
) -> None:
    reply, chat = recording(history, clock)
    steps = ((0.25, ""), (0.5, ""), (0.75, "abc"), (1.0, "abc"), (1.5, "abcde"), (3.5, "abcdef"))
    for letter, (second, stored) in zip("abcdef", steps, strict=True):
        clock.now = second
        reply.feed(Text(letter))
        assert history.entries(chat)[-1].text == stored
    reply.feed(done("abcdefg"))
    assert history.entries(chat)[-1].text == "abcdefg"
    assert history.entries(chat)[-1].vocab_sha256 == "vocabulary"


def test_a_reset_is_counted_and_its_text_forgotten(history: History, clock: Clock) -> None:
    reply, chat = recording(history, clock)
    clock.now = 2
    reply.feed(Text("draft"))
    assert history.entries(chat)[-1].text == "draft"
    reply.feed(reset(5))
    assert history.entries(chat)[-1].text == ""
    reply.feed(reset(0))
    reply.feed(Text("good"))
    reply.feed(done("good"))
    last = history.entries(chat)[-1]
    assert (last.text, last.resets, last.shown_resets, last.state) == ("good", 2, 1, "settled")


def test_withheld_text_leaves_the_files(history: History, clock: Clock, tmp_path: Path) -> None:
    reply, chat = recording(history, clock)
    clock.now = 2
    reply.feed(Text("canary-7f3a9"))
    reply.feed(done("", "reset_limit", ()))
    assert history.entries(chat)[-1].ids is None
    assert not any(b"canary" in path.read_bytes() for path in tmp_path.glob("history.db*"))


@pytest.mark.parametrize("finish", ["error", "end"])
def test_a_reply_that_fails_keeps_what_was_shown(history: History, clock: Clock, finish: str) -> None:
    reply, chat = recording(history, clock)
    reply.feed(Text("half"))
    if finish == "error":
        reply.feed(Error("broke"))
    reply.end()
    last = history.entries(chat)[-1]
    assert (last.text, last.state, last.reason) == ("half", "unfinished", "error")


def test_a_store_that_fails_is_reported_once_and_ends_nothing(history: History, clock: Clock) -> None:
    problems: list[str] = []
    reply, _ = recording(history, clock, problems)
    history._database.execute("PRAGMA query_only = ON").fetchall()
    clock.now = 2
    for event in (Text("a"), reset(1), Text("b"), done("b")):
        reply.feed(event)
    assert len(problems) == 1
    assert "not stored" in problems[0]
    with pytest.raises(TakebackError):
        history.say(1, "x")


@pytest.mark.parametrize("following", [Text("Better."), done("Better.")], ids=["text", "done"])
def test_a_taking_back_that_fails_is_done_before_the_next_write(
    history: History, clock: Clock, tmp_path: Path, following: Text | Done
) -> None:
    problems: list[str] = []
    reply, chat = recording(history, clock, problems)
    clock.now = 2
    reply.feed(Text("canary-7f3a9"))
    history._database.execute("PRAGMA query_only = ON").fetchall()
    reply.feed(reset(12))
    history._database.execute("PRAGMA query_only = OFF").fetchall()
    clock.now = 4
    reply.feed(following)
    assert history.entries(chat)[-1].text == "Better."
    assert not any(b"canary" in path.read_bytes() for path in tmp_path.glob("history.db*"))
    assert len(problems) == 1


def test_a_taking_back_that_fails_to_the_end_is_done_after_the_last_write(
    history: History, clock: Clock, tmp_path: Path, monkeypatch
) -> None:
    reply, chat = recording(history, clock, [])
    clock.now = 2
    reply.feed(Text("canary-7f3a9"))
    take_back, failures = history.take_back, ["at the reset", "before the last write"]

    def failing(row: int) -> None:
        if failures:
            raise TakebackError(failures.pop(0))
        take_back(row)

    monkeypatch.setattr(history, "take_back", failing)
    reply.feed(reset(12))
    reply.feed(done("Better."))
    assert history.entries(chat)[-1].text == "Better."
    assert not any(b"canary" in path.read_bytes() for path in tmp_path.glob("history.db*"))


def test_a_write_that_fails_is_taken_back_too(history: History, clock: Clock, monkeypatch) -> None:
    reply, _ = recording(history, clock, [])
    taken_back: list[int] = []
    monkeypatch.setattr(history, "take_back", taken_back.append)
    clock.now = 2
    history._database.execute("PRAGMA query_only = ON").fetchall()
    reply.feed(Text("perhaps in the log"))
    reply.feed(reset(18))
    assert taken_back
