"""How replies are written where nothing can be unsaid, and what is stored of them."""

import os
import signal
import threading
import time

import pytest

from assistant.conversation.history import History
from assistant.conversation.shelf import NOT_BEGUN
from assistant.plain import talk as talking
from convert.errors import TakebackError
from tests.tui.conftest import stored
from tests.tui.scripted import ScriptedModel, done, reset, text

DRAFT = "canary-7f3a9 is the first step"


def test_a_reply_is_written_once_it_is_done(talk, database) -> None:
    out, remarks = talk("hello", scripts=[[text("One.\n\n"), text("Two."), done("One.\n\nTwo.")]])
    assert out == "Assistant: One.\n\nTwo.\n"
    assert "The model is Scripted: it takes back what goes wrong" in remarks
    assert stored(database) == [("user", "hello", ""), ("assistant", "One.\n\nTwo.", "stop")]


def test_what_was_taken_back_is_never_written_and_counted_in_words(talk, database) -> None:
    script = [text(f"{DRAFT}\n\n"), reset(30), reset(0), text("No."), done("No.", resets=2)]
    out, remarks = talk("hello", scripts=[script])
    assert out == "Assistant: No.\n"
    assert "[2 drafts taken back before any of it was shown]" in remarks
    assert not any(b"canary" in file.read_bytes() for file in database.parent.glob("history.db*"))


def test_a_stream_says_in_words_that_the_draft_does_not_count(talk) -> None:
    script = [text(f"{DRAFT}\n\nand"), reset(33), text("No, "), text("sorry."), done("No, sorry.", resets=1)]
    out, remarks = talk("hello", scripts=[script], stream=True)
    assert out.splitlines() == [
        f"Assistant: {DRAFT}",
        "",
        "[The assistant took back its draft and begins again. What stands above does not count.]",
        "Assistant: No, sorry.",
    ]
    assert "before any of it was shown" not in remarks


def test_an_answer_that_is_never_found_is_said_so(talk, database) -> None:
    out, remarks = talk(
        "hello", scripts=[[text(DRAFT), reset(30), done("", "reset_limit", resets=1, ids=())]]
    )
    assert out == ""
    assert "[The assistant took back its draft and has no answer. Nothing was sent anywhere]" in remarks
    assert stored(database)[-1] == ("assistant", "", "reset_limit")


def test_ctrl_c_stops_a_reply_and_what_was_settled_of_it_goes_on(talk, database) -> None:
    never = threading.Event()
    interrupt = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    scripts = [
        [text("Half of"), never],
        [text("Half of it, and the rest."), done("Half of it, and the rest.")],
    ]
    before = signal.getsignal(signal.SIGINT)
    out, remarks = talk(interrupt.start, "hello", "/continue", scripts=scripts)
    assert out == "Assistant: Half of\nAssistant, going on: it, and the rest.\n"
    assert "[stopped by you; /continue goes on with it]" in remarks
    assert stored(database) == [("user", "hello", ""), ("assistant", "Half of it, and the rest.", "stop")]
    assert signal.getsignal(signal.SIGINT) is before


def test_edit_again_and_the_versions(talk, database) -> None:
    scripts = [[text(words), done(words)] for words in ("One.", "Two.", "Three.")]
    out, _ = talk("first", "/again", "/older", "/edit", "other", "/older", "/show", scripts=scripts)
    assert out.splitlines() == [
        "Assistant: One.",
        "Assistant: Two.",
        "2. Assistant: One.",
        "[version 1 of 2]",
        "It was: first",
        "Assistant: Three.",
        "1. You: first",
        "[version 1 of 2]",
        "2. Assistant: Two.",
        "[version 2 of 2]",
        "1. You: first",
        "[version 1 of 2]",
        "2. Assistant: Two.",
        "[version 2 of 2]",
    ]
    assert [words for _, words, _ in stored(database)] == ["first", "Two."]


def test_a_message_in_its_chat_is_written_again_by_its_number(talk) -> None:
    scripts = [[text(words), done(words)] for words in ("One.", "Two.", "Three.")]
    out, remarks = talk("a", "b", "/again 2", "/again 1", "/edit 9", scripts=scripts)
    assert out.splitlines()[-1] == "Assistant: Three."
    assert "[message 1 is not the assistant's; /show tells the numbers]" in remarks
    assert "[there is no message 9 here; /show tells the numbers]" in remarks


def test_a_number_of_thousands_of_digits_is_no_message(talk) -> None:
    _, remarks = talk("a", f"/edit {'9' * 5000}", scripts=[[text("One."), done("One.")]])
    assert "[there is no message 9999" in remarks


def test_a_model_that_cannot_be_loaded_costs_no_words(talk, database) -> None:
    def load(progress):
        raise TakebackError("no such model")

    _, remarks = talk("hello", "/again", model=load)
    assert remarks.count("[no such model]") == 2
    _, remarks = talk("/prompt", model=load)
    assert "[no such model]" in remarks
    assert stored(database)[0] == ("user", "hello", "")


def test_what_cannot_be_sent_is_kept(talk, database) -> None:
    scripts = [[text("Yes."), done("Yes.")]]
    (database.parent / "large.txt").write_bytes(bytes(2 << 20))
    words = f"look at @{database.parent}/large.txt"
    _, remarks = talk(words, "/send", scripts=scripts)
    assert remarks.count("not sent") == 2
    with History(database) as history:
        assert history.unsent(0) == words
    _, remarks = talk("/send", "/quit", "never read", scripts=scripts)
    assert "Not sent yet: look at" in remarks
    (database.parent / "large.txt").write_text("small")
    out, _ = talk("/send", scripts=scripts)
    assert out == "Assistant: Yes.\n"
    with History(database) as history:
        assert history.unsent(0) == ""


@pytest.mark.parametrize("typed", [True, False])
def test_what_ctrl_c_keeps_from_being_sent_is_kept(talk, database, typed: bool) -> None:
    words = "word " * 400 + "end"
    if not typed:
        with History(database) as history:
            history.keep_unsent(NOT_BEGUN, words)
    loaded = threading.Event()
    interrupt = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))

    def load(progress):
        loaded.wait()
        return ScriptedModel()

    _, remarks = talk(interrupt.start, words if typed else "/send", loaded.set, model=load)
    assert "[Not sent. What you wrote is kept; /send sends it]" in remarks
    with History(database) as history:
        assert (history.chats(), history.unsent(NOT_BEGUN)) == ([], words)
    talk("/send", scripts=[[text("Yes."), done("Yes.")]])
    assert stored(database)[0] == ("user", words, "")
    with History(database) as history:
        assert history.unsent(NOT_BEGUN) == ""


def test_an_edit_that_was_cut_off_is_kept_for_its_chat(talk, database) -> None:
    with History(database) as history:
        chat, _ = history.new_chat("first")
        history.keep_unsent(NOT_BEGUN, "for a new one")
    talk("/edit", '"""', "anew")
    with History(database) as history:
        assert (history.unsent(chat), history.unsent(NOT_BEGUN)) == ("anew", "for a new one")


class Pause(threading.Event):
    """A step that takes a moment."""

    def wait(self, timeout=None) -> bool:
        time.sleep(timeout or 0)
        return True


def test_a_long_silence_is_told_without_the_draft(talk, monkeypatch) -> None:
    monkeypatch.setattr(talking, "SECONDS_OF_SILENCE", 0.0)
    go_on = threading.Event()
    go = threading.Timer(2.5, go_on.set)
    _, remarks = talk(
        go.start, "hello", scripts=[[text(DRAFT), go_on, reset(30), text("No."), done("No.", resets=1)]]
    )
    assert "[Still writing: about 5 words, not shown yet." in remarks
    assert "canary" not in remarks
    many = [text("word ") for _ in range(400)]
    steps = [step for word in many for step in (word, Pause())]
    monkeypatch.setattr(talking, "SECONDS_OF_SILENCE", 0.5)
    _, remarks = talk("hello", scripts=[[*steps, done("word " * 400)]])
    assert "[Still writing" in remarks


@pytest.mark.parametrize("seen", ["\x1b]0;title\x07", "\u202e", "\x9b31m"])
def test_what_is_stored_is_cleaned_when_it_is_read(talk, database, seen: str) -> None:
    with History(database) as history:
        chat, _ = history.new_chat(f"a{seen}b")
        history.settle(history.begin(chat), f"c{seen}d", reason="stop")
        history.keep_unsent(chat, f"e{seen}f")
    out, remarks = talk(
        "/show", "/chats", f"/search a{seen}b", "/edit", "/export", "/rename x\x1b[1m", "/chats"
    )
    assert not any(sign in out + remarks for sign in ("\x1b", "\x07", "\u202e", "\x9b"))
