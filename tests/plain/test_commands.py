"""The line mode's commands for chats and for what is chosen for them."""

import json

from assistant.conversation.chosen import of_text
from assistant.conversation.history import History
from assistant.conversation.presets import save_preset
from assistant.plain.commands import COMMANDS
from convert.errors import TakebackError
from tests.tui.scripted import done, text

YES = [text("Yes."), done("Yes.")]


def test_chats_are_listed_found_opened_renamed_deleted_and_brought_back(talk, database) -> None:
    out, remarks = talk(
        "oranges", "/new", "pears", "/rename Sour pears", "/chats", "/search yes", "/open 1", "/show",
        "/delete", "/chats", "/undo", "/show 1", "/delete 2", scripts=[YES, YES],
    )  # fmt: skip
    lines = [line.partition(", 20")[0] for line in out.splitlines() if not line.startswith("Assistant")]
    assert lines == [
        "2. Sour pears",
        "1. oranges",
        "1. oranges",
        "2. Sour pears",
        "1. You: oranges",
        "2. Assistant: Yes.",
        "2. Sour pears",
        "2. Assistant: Yes.",
    ]
    assert "[Back again: “oranges”]" in remarks
    with History(database) as history:
        assert [chat.title for chat in history.chats()] == ["oranges"]


def test_a_chat_that_could_not_be_brought_back_can_be_later(talk, monkeypatch) -> None:
    bring_back, locked = History.bring_back, [TakebackError("the history is locked")]

    def brought_back(history: History, chat: int) -> None:
        if locked:
            raise locked.pop()
        bring_back(history, chat)

    monkeypatch.setattr(History, "bring_back", brought_back)
    _, remarks = talk("oranges", "/delete", "/undo", "/undo", scripts=[YES])
    assert "[the history is locked]" in remarks
    assert "[Back again: “oranges”]" in remarks


def test_a_chat_that_is_gone_for_good_does_not_stand_before_another(talk, database) -> None:
    def delete() -> None:
        with History(database) as other:
            other.delete(2)

    _, remarks = talk(
        "oranges", "/new", "pears", "/delete 1", "/delete 2", delete, "/undo", "/undo", scripts=[YES, YES]
    )
    assert "[this chat was deleted for good meanwhile, by another takeback]" in remarks
    assert "[Back again: “oranges”]" in remarks


def test_a_message_that_was_found_is_opened_on_its_branch(talk, database) -> None:
    with History(database) as history:
        chat, first = history.new_chat("apples")
        history.say(chat, "pears", instead_of=first)
    out, remarks = talk("/search apples", f"/open {chat} {first}", "/open 1 99", "/open x", "/open 7")
    assert out.splitlines()[-2:] == ["1. You: apples", "[version 1 of 2]"]
    assert "[chat 1 has no message 99; /search finds messages]" in remarks
    assert "['x' is no number; /chats and /show tell the numbers]" in remarks
    assert "[there is no chat 7; /chats lists them]" in remarks


def test_a_chat_goes_out_and_comes_back(talk, database) -> None:
    for name in ("chat.json", "chat.md"):
        path = database.parent / name
        _, remarks = talk("oranges", f"/export {path}", f"/export {path}", f"/import {path}", scripts=[YES])
        assert f"[Written: {path}]" in remarks
        assert "there is such a file already" in remarks
    assert json.loads((database.parent / "chat.json").read_text())["messages"][0]["content"] == "oranges"
    with History(database) as history:
        assert [entry.text for entry in history.entries(history.chats()[0].id)][:2] == ["oranges", "Yes."]


def test_what_is_chosen_is_stored_with_its_chat(talk, database) -> None:
    out, remarks = talk(
        "/temperature 0.1", "/system Be brief.", "hello", "/options top-p 0.5", "/system -", "/temperature warm",
        "/options nonsense 1", "/model no-such-model", "/model -", scripts=[YES],
    )  # fmt: skip
    with History(database) as history:
        chat = history.chats()[0]
        assert (chat.system, of_text(chat.chosen)) == (None, {"temperature": 0.1, "top_p": 0.5})
    assert "The system message is: Be brief.\n" in out
    assert "temperature is 'warm'" in remarks
    assert "'nonsense' is nothing that can be chosen" in remarks
    assert "no model or file named 'no-such-model'" in remarks


def test_a_preset_gives_a_chat_its_options(talk, database, monkeypatch) -> None:
    monkeypatch.setenv("TAKEBACK_HOME", str(database.parent))
    save_preset("brief", {"system": "Be brief.", "temperature": 0.2})
    out, remarks = talk(
        "hello", "/options seed 1", "/preset", "/preset brief", "/preset other", scripts=[YES]
    )
    assert "brief: system Be brief., temperature 0.2\n" in out
    assert "there is no preset 'other'" in remarks
    with History(database) as history:
        chat = history.chats()[0]
        assert (chat.system, of_text(chat.chosen)) == ("Be brief.", {"temperature": 0.2})


def test_the_prompt_is_shown_as_it_is_sent(talk) -> None:
    out, remarks = talk("/system Be brief.", "/prompt", "hello", "/prompt", scripts=[YES])
    assert "<|system|>Be brief.<|user|>…<|assistant|>\n" in out
    assert "<|user|>hello<|assistant|>Yes.<|user|>…<|assistant|>\n" in out
    assert "of 4,096 tokens]" in remarks


def test_help_lists_every_command_and_wrong_ones_are_told(talk) -> None:
    out, remarks = talk("/help", "/nonsense", "/new words", "/usr/bin is a folder", scripts=[YES])
    assert all(f"\n/{command.name}" in out for command in COMMANDS)
    assert "[there is no /nonsense; with a space before it, it is sent. /help lists all]" in remarks
    assert "[nothing may follow /new; with a space before it, it is sent]" in remarks
    assert out.endswith("Assistant: Yes.\n")


def test_every_essential_action_has_a_command() -> None:
    essential = (
        "new chats open search rename delete undo edit again continue older newer export import system "
        "temperature model prompt help quit"
    )
    assert set(essential.split()) <= {command.name for command in COMMANDS}


def test_a_chat_that_is_not_begun_has_nothing_to_do_things_with(talk) -> None:
    _, remarks = talk(
        "/show", "/again", "/continue", "/delete", "/undo", "/edit", "/rename", "/leave", "/import"
    )
    assert remarks.count("this chat is not begun yet") == 5
    assert "nothing was deleted" in remarks
    assert "which title?" in remarks
