"""What a model has read is on the disk for the next start: the same logits, for the same model only, and no draft."""

import os
import random
import stat
import time
from pathlib import Path

import numpy as np
import pytest

from assistant.conversation.history import History
from assistant.engine import reading_again
from assistant.engine import session as session_module
from assistant.engine.events import Done, Start
from assistant.engine.generate import ResetRule
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions, LoadOptions, load_options
from assistant.engine.prompt import PromptTemplate
from assistant.engine.prompt_cache import PromptCache, forget_prompts, model_key, prompts_dir
from assistant.engine.session import Session
from assistant.settings import Settings
from tests.engine.tiny_models import (
    WORDS,
    write_dense_model,
    write_hybrid_model,
    write_recurrent_model,
    write_window_model,
)

FIRST = [Message("system", "the sea " * 12), Message("user", "a sea " * 20)]
CHAT = "{% for m in messages %}<s>{{ m.role }}:{{ m.content }}</s>{% endfor %}<s>assistant:"
FIRST_WORD = 3 + 256
OPTIONS = GenerateOptions(seed=1, max_tokens=8)
KINDS = [write_dense_model, write_window_model, write_recurrent_model, write_hybrid_model]


class Words(session_module.Sampler):
    """Says words at random: what these models say of their own is not even text."""

    chance = random.Random(1)

    def sample(self):
        return FIRST_WORD + self.chance.randrange(len(WORDS) - 1)


@pytest.fixture(autouse=True)
def least(monkeypatch, tmp_path):
    monkeypatch.setenv("TAKEBACK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(session_module, "Sampler", Words)
    monkeypatch.setattr(reading_again.ReadingAgain.__init__, "__kwdefaults__", {"least": 16})


@pytest.fixture(scope="module", params=KINDS)
def path(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    return write_dense_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


def load(path, keeps="chats", most=64, **options) -> Session:
    chosen = {"ctx": 512, "threads": 1, "prompt_cache": most, "keeps": keeps, **options}
    session = Session.open(path, LoadOptions(**chosen))
    session.template = PromptTemplate(CHAT, session.vocabulary, session.info.vocab_sha256)
    return session


def say(session, messages):
    """The next turn's messages, and how many tokens were there already."""
    start, *_, done = session.generate(messages, OPTIONS)
    assert isinstance(start, Start) and isinstance(done, Done)
    reply = Message("assistant", done.text, done.ids, session.info.vocab_sha256)
    return [*messages, reply, Message("user", "the sea")], start.cached_tokens


def files():
    return sorted(prompts_dir().glob("*.prompt"))


def test_the_next_start_reads_only_what_is_new(path) -> None:
    with load(path) as session:
        messages, _ = say(session, FIRST)
        held = session.memory.ids
    (file,) = files()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(prompts_dir().stat().st_mode) == 0o700
    with load(path) as session:
        prompt = session.template.ids(messages)
        session._again.begin(prompt, switch=True)
        assert session.memory.ids == held == tuple(prompt[: len(held)])
        list(session.memory.read(prompt[len(held) :]))
        found = session.context.logits().copy()
        # The same in a memory that never was on the disk, in the same pieces.
        first = len(session.template.ids(FIRST))
        session.memory.forget()
        for piece in (prompt[:first], *([token] for token in held[first:]), prompt[len(held) :]):
            list(session.memory.read(piece))
        np.testing.assert_allclose(found, session.context.logits(), atol=1e-4, rtol=0)


def test_another_model_or_context_finds_nothing(dense, tmp_path) -> None:
    with load(dense) as session:
        messages, _ = say(session, FIRST)
    other = tmp_path / "other.gguf"
    data = bytearray(dense.read_bytes())
    data[-1] ^= 1  # one bit of a weight
    other.write_bytes(data)
    os.utime(other, ns=(dense.stat().st_atime_ns, dense.stat().st_mtime_ns))
    for path, options in ((other, {}), (dense, {"ctx": 256})):
        with load(path, **options) as session:
            assert say(session, messages)[1] == 0
    with load(dense, most=0) as session:
        assert say(session, messages)[1] == 0
    with load(dense) as session:
        assert say(session, messages)[1] > 100


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "words"])
def test_a_damaged_file_is_deleted_unread(dense, damage) -> None:
    with load(dense) as session:
        messages, _ = say(session, FIRST)
    (file,) = files()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(
        {"cut": data[: len(data) // 2], "bit": data, "empty": b"", "words": b"no prompt " * 99}[damage]
    )
    with load(dense) as session:
        assert say(session, messages)[1] == 0
        assert not files()


@pytest.mark.parametrize("after", ["rewind", "keep"])
@pytest.mark.parametrize("closed_at", [5, None], ids=["in the draft", "at the end"])
def test_no_file_has_a_draft(dense, monkeypatch, after, closed_at) -> None:
    class AtTen(ResetRule):
        checks = 0

        def fires(self, model):
            super().fires(model)
            AtTen.checks += 1
            return AtTen.checks in (11, 31)

    monkeypatch.setattr(session_module, "ResetRule", AtTen)
    with load(dense) as session:
        session.vocabulary.is_end = lambda _token: False
        drafts, steps = [], []
        step = session.context.decode
        monkeypatch.setattr(
            session.context, "decode", lambda ids, **kw: (steps.append(tuple(ids)), step(ids, **kw))
        )
        prompt = session.template.ids(FIRST)
        events = session.generate(FIRST, GenerateOptions(seed=1, max_tokens=30, after_reset=after))
        for event in events:
            drafts.append(event)
            if closed_at and session.memory.length >= len(prompt) + closed_at:
                break
        done = drafts[-1]
    cache = PromptCache(prompts_dir(), session._again._cache._key, 1 << 26)
    for file in files():
        ids, _ = cache.read(file)
        said = list(done.ids) if isinstance(done, Done) else []
        assert ids == [*prompt, *said][: len(ids)]
        assert isinstance(done, Done) or len(ids) <= len(prompt)
    assert isinstance(done, Done) == (closed_at is None)
    if closed_at is None:
        assert done.resets == 2 and files()


def test_ask_keeps_the_system_message_alone(dense) -> None:
    with load(dense, keeps="system") as session:
        say(session, FIRST)
    (file,) = files()
    ids, _ = PromptCache(prompts_dir(), session._again._cache._key, 1 << 26).read(file)
    with load(dense, keeps="system") as session:
        said = b"".join(map(session.vocabulary.piece, ids)).decode()
        assert "user:" in said and "a sea" not in said
        assert say(session, [FIRST[0], Message("user", "what")])[1] >= len(ids)
    assert files() == [file]
    with load(dense, keeps="system") as session:
        say(session, FIRST[1:])
    assert files() == [file], "without a system message there is nothing to keep"


def test_a_chat_that_is_left_is_kept_and_found_again(dense) -> None:
    other = [Message("user", "the the " * 20)]
    with load(dense) as session:
        messages, _ = say(session, FIRST)
        say(session, other)
        assert len(files()) == 1
        assert say(session, messages)[1] > 100
    assert len(files()) == 2, "the other one, and the first one in the place of its beginning"


def test_a_window_that_moves_on_writes_nothing(dense) -> None:
    with load(dense) as session:
        messages, _ = say(session, FIRST)
        say(session, messages[1:])  # the oldest is left out
        assert not files()


def test_a_deleted_chat_is_gone_from_here_too(dense, tmp_path) -> None:
    with History(tmp_path / "history.db") as history, load(dense) as session:
        chat, _ = history.new_chat("a sea")
        messages, _ = say(session, FIRST)
        say(session, [Message("user", "the the " * 20)])
        assert files()
        history.delete(chat)
        assert not files()
    assert not files(), "what was in memory by then is not kept either"
    with load(dense) as session:
        say(session, messages)
    assert files()


def test_a_chat_that_is_deleted_before_anything_was_ever_kept_is_not_kept_either(dense, tmp_path) -> None:
    with History(tmp_path / "history.db") as history, load(dense) as session:
        chat, _ = history.new_chat("a sea")
        say(session, FIRST)
        history.delete(chat)
    assert not files()


def test_what_is_forgotten_while_it_is_written_is_gone(monkeypatch) -> None:
    cache = PromptCache(prompts_dir(), b"k" * 32, 10_000)
    monkeypatch.setattr(
        Path, "mkdir", lambda *_, **__: forget_prompts()
    )  # by another program, after the look
    cache.write([1, 2], bytearray(8), time.time_ns())
    assert not files()


def test_the_folder_stays_within_its_bounds(tmp_path) -> None:
    cache = PromptCache(tmp_path, b"k" * 32, 1400)
    for number in range(5):
        cache.write([number] * 50, bytearray(150), begun=1 << 62)
        for age, file in enumerate(sorted(tmp_path.glob("*.prompt"), key=lambda f: -f.stat().st_mtime_ns)):
            os.utime(file, (1e9 - age, 1e9 - age))
    assert [cache.find([n] * 50, 1, whole=False) is not None for n in range(5)] == [
        False,
        False,
        True,
        True,
        True,
    ]
    cache.write([9] * 400, bytearray(100), begun=1 << 62)
    assert cache.find([9] * 400, 1, whole=False) is None, "larger than all of it"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_state_that_llama_refuses_is_dropped_and_the_prompt_is_read(dense) -> None:
    with load(dense) as session:
        prompt = session.template.ids(FIRST)
        session._again._cache.write(prompt[:40], bytearray(b"no state of llama.cpp's"), begun=1 << 62)
        assert len(files()) == 1
        assert say(session, FIRST)[1] == 0
        assert not files()


def test_what_is_larger_than_all_of_it_is_not_even_saved(dense, monkeypatch) -> None:
    with load(dense) as session:
        say(session, FIRST)
        monkeypatch.setattr(session._again._cache, "_most", session.memory.state_size)
        monkeypatch.setattr(session.memory, "state", lambda: pytest.fail("it was saved"))


def test_without_the_memory_to_keep_it_a_chat_is_wiped_all_the_same(dense, monkeypatch) -> None:
    def fail_with(error: type[Exception]):
        def fail() -> bytearray:
            raise error

        return fail

    with load(dense) as session:
        say(session, FIRST)
        monkeypatch.setattr(session.memory, "state", fail_with(MemoryError))
    assert not session.memory.ids and not files()
    with pytest.raises(OSError), load(dense) as session:
        say(session, FIRST)
        monkeypatch.setattr(session.memory, "state", fail_with(OSError))
    assert not session.memory.ids


def test_a_longer_state_takes_the_place_of_its_beginning(tmp_path) -> None:
    cache = PromptCache(tmp_path, b"k" * 32, 10_000)
    cache.write([1, 2], bytearray(8), 1)
    cache.write([1, 2, 3, 4], bytearray(8), 1)
    cache.write([1, 2, 5], bytearray(8), 1)
    assert len(list(tmp_path.iterdir())) == 2
    found = cache.find([1, 2, 3, 9], 2, whole=False)
    assert cache.read(found) == ([1, 2, 3, 4], bytearray(8))
    assert cache.find([1, 2, 3, 9], 2, whole=True) is None
    assert cache.covers([1, 2, 3]) and not cache.covers([2])


def test_a_place_that_cannot_be_written_is_no_error(dense, tmp_path) -> None:
    (tmp_path / "home").write_text("a file")
    with load(dense) as session:
        assert say(session, FIRST)[1] == 0
    forget_prompts()


def test_the_setting_and_who_keeps_what(dense) -> None:
    assert load_options(Settings(), keeps="chats").prompt_cache == 512
    assert load_options(Settings(prompt_cache=0), keeps="chats").prompt_cache == 0
    assert load_options(Settings(prompt_cache=9)).prompt_cache == 0, "a server keeps nothing"
    assert model_key(dense, "a") != model_key(dense, "b") != model_key(dense, "b", 1)
