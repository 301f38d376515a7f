"""What the model sees of a chat that is longer than its context."""

import pytest

from assistant.conversation.history import History
from assistant.conversation.records import Entry
from assistant.conversation.sight import see
from assistant.conversation.window import as_messages, fit
from assistant.engine.message import Message
from convert.errors import TakebackError


def entry(role: str, text: str) -> Entry:
    return Entry(1, 1, role, text, "settled", "", 0, 0, 0.0, (1,), "v")


def words(messages) -> int:
    return sum(len(message.content.split()) for message in messages)


def talk(*lengths: int) -> list[Message]:
    return [Message("user" if n % 2 == 0 else "assistant", "w " * length) for n, length in enumerate(lengths)]


def test_roles_take_turns_whatever_is_stored() -> None:
    stored = [entry("user", "a"), entry("assistant", ""), entry("user", "b"), entry("assistant", "c")]
    messages = as_messages(stored, system="s")
    assert [(m.role, m.content) for m in messages] == [
        ("system", "s"),
        ("user", "a\n\nb"),
        ("assistant", "c"),
    ]
    assert messages[-1].ids == (1,)
    assert messages[1].ids is None


def test_everything_is_kept_while_it_fits() -> None:
    messages = talk(10, 10, 10)
    assert fit(messages, words, 100).messages == messages
    assert fit(messages, words, 100).left_out == 0


def test_the_oldest_go_in_pairs_down_to_three_quarters() -> None:
    messages = talk(*[10] * 9)  # 90 words, room for 75
    window = fit(messages, words, 100)
    assert window.left_out == 4
    assert window.messages == messages[4:]
    assert window.messages[0].role == "user"


def test_what_was_left_out_stays_out() -> None:
    messages = talk(*[10] * 11)
    assert fit(messages, words, 100, left_out_before=4).left_out == 4


def test_the_system_message_stays() -> None:
    messages = [Message("system", "be brief"), *talk(*[10] * 9)]
    window = fit(messages, words, 100)
    assert window.messages[0].role == "system"
    assert window.left_out == 4


def test_a_last_message_that_needs_more_than_three_quarters_is_still_asked() -> None:
    assert fit(talk(10, 10, 70), words, 100).messages == talk(10, 10, 70)[2:]


def test_a_last_message_that_cannot_fit_is_one_line() -> None:
    with pytest.raises(TakebackError, match="too long: 80 tokens, where the model has room for 75"):
        fit(talk(10, 10, 80), words, 100)


def test_a_reply_that_is_still_being_written_is_not_seen(tmp_path) -> None:
    with History(tmp_path / "history.db") as history:
        chat, _ = history.new_chat("hello")
        history.grow(history.begin(chat), "a draft that may be taken back")
        history.say(chat, "next")
        assert [message.content for message in see(history, chat, words, 100).messages] == ["hello\n\nnext"]
