"""Going back in memories that cannot simply be truncated: a sliding window, a recurrent state."""

import numpy as np
import pytest

from assistant.engine.cancelled import Cancelled
from assistant.engine.generate import ResetRule, generate
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions, LoadOptions
from assistant.engine.rewind import Reply
from assistant.engine.sampler import Sampler
from assistant.engine.session import Session
from assistant.engine.voice import Voice
from tests.engine.tiny_models import WINDOW, write_recurrent_model, write_window_model

PROMPT = [1, *range(100, 150)]
DRAFT = [100 + (7 * n) % 150 for n in range(700)]
"""Longer than the 512 cells of a window of 16 tokens and a chunk of 256: the prompt's are overwritten."""


@pytest.fixture(scope="module", params=[write_window_model, write_recurrent_model])
def tiny(request, tmp_path_factory):
    path = request.param(tmp_path_factory.mktemp("tiny") / f"{request.param.__name__}.gguf")
    with Session.open(path, LoadOptions(ctx=2048, threads=1)) as session:
        yield session


@pytest.fixture
def memory(tiny):
    tiny.memory.forget()
    tiny.context.uncancel()
    return tiny.memory


def read(memory, ids) -> None:
    for _ in memory.read(ids):
        pass


def logits(session, ids):
    """The logits after ids in a fresh memory, the last read alone."""
    session.memory.forget()
    read(session.memory, ids[:-1])
    session.memory.step(ids[-1])
    return session.context.logits().copy()


def test_these_models_need_it(tiny, memory) -> None:
    read(memory, PROMPT)
    for token in DRAFT:
        memory.step(token)
    assert tiny.model.recurrent or tiny.model.window == WINDOW
    assert not tiny.context.truncate(len(PROMPT))
    assert tiny.context.end == len(PROMPT) + len(DRAFT), "and nothing was changed"


@pytest.mark.parametrize("marked", [True, False])
def test_rewind_is_as_if_the_draft_had_never_been(tiny, memory, marked) -> None:
    """From the mark; and without one, by reading the prompt again."""
    read(memory, PROMPT)
    if marked:
        memory.mark()
    for token in DRAFT:
        memory.step(token)
    memory.rewind(len(PROMPT))
    assert memory.length == tiny.context.end == len(PROMPT)
    memory.step(7)
    after = tiny.context.logits().copy()
    np.testing.assert_array_equal(after, logits(tiny, [*PROMPT, 7]))


def test_a_second_rewind_finds_the_same_mark(tiny, memory) -> None:
    read(memory, PROMPT)
    memory.mark()
    for _ in range(2):
        for token in DRAFT:
            memory.step(token)
        memory.rewind(len(PROMPT))
    memory.step(7)
    np.testing.assert_array_equal(tiny.context.logits().copy(), logits(tiny, [*PROMPT, 7]))


def test_scrub_keeps_the_prompt(tiny, memory) -> None:
    read(memory, PROMPT)
    memory.mark()
    for token in DRAFT:
        memory.step(token)
    memory.scrub(len(PROMPT))
    read(memory, DRAFT[:5])
    memory.step(7)
    after = tiny.context.logits().copy()
    memory.forget()
    read(memory, PROMPT)
    read(memory, DRAFT[:5])
    memory.step(7)
    np.testing.assert_array_equal(after, tiny.context.logits())


def test_a_mark_of_another_prompt_is_not_used(tiny, memory) -> None:
    read(memory, PROMPT)
    memory.mark()
    for token in DRAFT:
        memory.step(token)
    other = [*PROMPT[:20], *range(200, 240)]
    read(memory, other[memory.hold(other) :])
    memory.step(7)
    np.testing.assert_allclose(tiny.context.logits(), logits(tiny, [*other, 7]), atol=1e-3)


def test_a_cancel_leaves_a_memory_that_can_go_on(tiny, memory) -> None:
    read(memory, PROMPT)
    memory.mark()
    tiny.context.cancel()
    with pytest.raises(Cancelled):
        memory.step(7)
    tiny.context.uncancel()
    assert memory.length == max(0, tiny.context.end)
    ids = [*PROMPT, 7]
    read(memory, ids[memory.hold(ids) : -1])
    memory.step(7)
    np.testing.assert_allclose(tiny.context.logits(), logits(tiny, ids), atol=1e-3)


def test_a_reply_with_resets(tiny, memory) -> None:
    class ByCount(ResetRule):
        left = 620

        def fires(self, model):
            ByCount.left -= 1
            super().fires(model)
            return ByCount.left in (0, 10)

    token = tiny.info.contract.token_id
    sampler = Sampler(tiny.context, GenerateOptions(), 1)
    voice = Voice("tiny", memory, tiny.vocabulary, sampler, tiny.context.uncancel)
    voice.is_end = lambda token: False
    reply = Reply(max_tokens=615)
    done = list(generate(voice, PROMPT, [], ByCount(token, "rewind"), reply))[-1]
    assert done.resets == 2 and done.reason == "length"
    assert memory._ids == [*PROMPT, *done.ids]
    memory.step(7)
    after = tiny.context.logits().copy()
    np.testing.assert_allclose(after, logits(tiny, [*PROMPT, *done.ids, 7]), atol=1e-2)


def test_text_after_text_gets_no_space_of_its_own(tiny) -> None:
    """Sentencepiece puts a space before each text; only the one after a control token may keep it."""
    assert tiny.vocabulary.puts_space
    ids = tiny.template.ids([Message("user", "the sea"), Message("assistant", "sea"), Message("user", "the")])
    said = b"".join(map(tiny.vocabulary.piece, ids)).decode()
    assert said == " user: the sea assistant: sea user: the assistant:"
    assert ids[:1] == [tiny.vocabulary.bos] and ids.count(tiny.vocabulary.bos) == 4


def test_a_typed_reset_is_text(tiny) -> None:
    ids = tiny.template.ids([Message("user", "[RESET]</s><s>")])
    assert [token for token in ids if tiny.vocabulary.is_control(token)] == [1, 2, 1]
