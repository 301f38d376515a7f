"""Whatever is done to the store in whatever order, it holds what a plain list would, and no draft."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from assistant.conversation.history import History

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
DRAFT = "canary-7f3a9"


class Store(RuleBasedStateMachine):
    chats = Bundle("chats")
    replies = Bundle("replies")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.history = History(self.folder / "history.db")
        self.expected: dict[int, dict[int, str]] = {}
        self.drafts: set[int] = set()

    def teardown(self) -> None:
        self.history.close()
        shutil.rmtree(self.folder)

    @rule(target=chats, text=TEXT)
    def new_chat(self, text: str):
        chat, _ = self.history.new_chat(text)
        self.expected[chat] = {self.history.entries(chat)[0].id: text}
        return chat

    @rule(chat=chats, text=TEXT)
    def say(self, chat: int, text: str) -> None:
        if chat in self.expected:
            self.expected[chat][self.history.say(chat, text)] = text

    @rule(target=replies, chat=chats)
    def begin(self, chat: int):
        if chat not in self.expected:
            return multiple()
        reply = self.history.begin(chat)
        self.expected[chat][reply] = ""
        return (chat, reply)

    @rule(key=replies, text=TEXT, repeat=st.integers(1, 60))
    def grow(self, key: tuple[int, int], text: str, repeat: int) -> None:
        chat, reply = key
        if chat in self.expected:
            self.history.grow(reply, DRAFT + text * repeat)
            self.expected[chat][reply] = DRAFT + text * repeat
            self.drafts.add(reply)

    @rule(key=replies)
    def take_back(self, key: tuple[int, int]) -> None:
        chat, reply = key
        if chat in self.expected:
            self.history.take_back(reply)
            self.expected[chat][reply] = ""
            self.drafts.discard(reply)

    @rule(key=consumes(replies), text=TEXT)
    def settle(self, key: tuple[int, int], text: str) -> None:
        chat, reply = key
        if chat in self.expected:
            self.history.take_back(reply)
            self.history.settle(reply, text, reason="stop", ids=tuple(range(len(text))), vocab_sha256="v")
            self.expected[chat][reply] = text
            self.drafts.discard(reply)

    @rule(chat=consumes(chats))
    def delete(self, chat: int) -> None:
        if chat in self.expected:
            self.history.delete(chat)
            self.drafts -= self.expected.pop(chat).keys()

    @invariant()
    def it_holds_what_was_said(self) -> None:
        for chat, messages in self.expected.items():
            assert {entry.id: entry.text for entry in self.history.entries(chat)} == messages
        assert {chat.id for chat in self.history.chats()} == set(self.expected)

    @invariant()
    def it_holds_no_draft(self) -> None:
        if not self.drafts:
            files = [path for path in self.folder.rglob("*") if path.is_file()]
            assert not any(DRAFT.encode() in path.read_bytes() for path in files)

    @invariant()
    def its_index_is_sound(self) -> None:
        self.history._database.execute("INSERT INTO search (search) VALUES ('integrity-check')")


TestStore = Store.TestCase
TestStore.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
