"""After a reset, and after the scrub at the reply's end, every kind of memory is as if there had been no draft."""

import numpy as np
import pytest
from llama_cpp import llama_cpp as c

from assistant.engine.events import Reset
from assistant.engine.generate import ResetRule, generate
from assistant.engine.libllama import Context, Model
from assistant.engine.memory import Memory
from assistant.engine.options import GenerateOptions
from assistant.engine.rewind import Reply
from assistant.engine.sampler import Sampler
from assistant.engine.vocabulary import Vocabulary
from assistant.engine.voice import Voice
from tests.engine import tiny_models
from tests.engine.tiny_models import CHUNK, WINDOW

PROMPTS = {"shorter": [1, *range(100, 109)], "longer": [1, *range(100, 150)]}
"""Than the window of 16 tokens."""
DRAFTS = (WINDOW - 10, WINDOW + 24, 300)
"""The last is longer than the 256 cells that the window's memory has: it overwrites the prompt's."""
RESET = 3 + 256 + len(tiny_models.WORDS) - 1
TOLERANCE = 1e-4
"""Of logits that reach about 10. The same ids are read in the same pieces, so only the order in which an
attention adds its cells up may differ, after a state was put back into other cells."""
OTHER_PIECES = 1e-2
"""Where the same ids are read in other pieces: other kernels round in another way, and keys are stored as f16."""


def read(memory, ids) -> None:
    for _ in memory.read(ids):
        pass


def fresh(kind, *pieces):
    """The logits of a fresh context after these pieces, each read as one."""
    context = kind()
    memory = Memory(context)
    for ids in pieces:
        read(memory, ids)
    return context.logits().copy()


def reply_with_a_reset(context, memory, prompt, draft, after):
    """Write 5 tokens after one reset at the draft's end; returns the logits after the reset, and the reply."""

    class AtTheEnd(ResetRule):
        checks = 0

        def fires(self, model):
            super().fires(model)
            AtTheEnd.checks += 1
            return AtTheEnd.checks == draft + 1

    options = GenerateOptions(temperature=2.0, top_p=1.0, min_p=0.0)
    sampler = Sampler(context, options, 1)
    voice = Voice("tiny", memory, Vocabulary(context.model), sampler, context.uncancel)
    voice.is_end = lambda token: False
    reply, seen = Reply(), None
    for event in generate(voice, prompt, [], AtTheEnd(RESET, after), reply):
        if isinstance(event, Reset):
            seen = context.logits().copy()
            assert event.discarded_tokens == draft
            reply._max_tokens = 5  # only from now on: the draft may be longer
    assert (event.reason, event.resets) == ("length", 1)
    return seen, event.ids


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize("after", ["rewind", "keep"])
def test_the_logits_are_those_of_a_fresh_context(kind, prompt, draft, after) -> None:
    context = kind()
    memory = Memory(context)
    seen, reply = reply_with_a_reset(context, memory, prompt, draft, after)
    if after == "rewind":
        np.testing.assert_allclose(seen, fresh(kind, prompt, [RESET]), atol=TOLERANCE, rtol=0)
    assert len(reply) == 5 and memory._ids == [*prompt, *reply] and context.end == memory.length
    memory.step(7)
    wanted = fresh(kind, prompt, reply, [7])
    np.testing.assert_allclose(context.logits(), wanted, atol=TOLERANCE, rtol=0)
    if after == "rewind":
        # And a second reply on the same memory, whose prompt begins with the first.
        follow_up = [*prompt, *reply, 7, 8, 9]
        seen, _ = reply_with_a_reset(context, memory, follow_up, draft, after)
        wanted = fresh(kind, prompt, reply, [7], [8, 9], [RESET])
        np.testing.assert_allclose(seen, wanted, atol=TOLERANCE, rtol=0)


def test_a_window_says_yes_and_is_wrong(tmp_path) -> None:
    """What the tests above would see if the memory's word were taken for it."""
    model = Model(tiny_models.write_window_model(tmp_path / "tiny.gguf"))
    prompt = PROMPTS["longer"]
    wanted = None
    for swa_full in (True, False):
        context = Context(model, n_ctx=1024, threads=1, chunk=CHUNK, swa_full=swa_full)
        memory = Memory(context)
        read(memory, prompt)
        for token in range(300):
            memory.step(3 + token % 200)
        assert c.llama_memory_seq_rm(context.memory, 0, len(prompt), -1)
        context.decode([RESET])
        found = context.logits().copy()
        wanted = found if wanted is None else wanted
    assert np.abs(found - wanted).max() > 100 * TOLERANCE


def test_a_follow_up_reads_only_its_own_tokens(kind, monkeypatch) -> None:
    """After a reply with a reset, whatever the memory."""
    context, prompt = kind(), PROMPTS["longer"]
    memory = Memory(context)
    _, reply = reply_with_a_reset(context, memory, prompt, 40, "rewind")
    counts: list[int] = []
    decode = context.decode
    monkeypatch.setattr(context, "decode", lambda ids, **kw: (counts.append(len(ids)), decode(ids, **kw)))
    follow_up = [*prompt, *reply, 7, 8, 9]
    read(memory, follow_up[memory.hold(follow_up) :])
    assert counts == [3]


@pytest.mark.parametrize("marked", [True, False])
def test_an_edit_far_back_reads_no_more_than_the_memory_needs(kind, marked) -> None:
    """What is before the edit stays, or in a memory that cannot be truncated what is before the last mark."""
    context = kind()
    memory = Memory(context)
    ids = [1, *(3 + n % 250 for n in range(399))]
    for start in range(0, 400, 50):
        read(memory, ids[start : start + 50])
        if marked and start < 200:
            memory.mark()
    edited = [*ids[:120], 7, 8, 9]
    model = context.model
    truncates = not model.recurrent and (not model.window or context.swa_full)
    assert memory.hold(edited) == context.end == (120 if truncates else 100 if marked else 0)
    read(memory, edited[memory.length :])
    np.testing.assert_allclose(
        context.logits(), fresh(kind, ids[:50], ids[50:100], edited[100:]), atol=OTHER_PIECES
    )


def test_the_marks_of_a_long_chat_are_few_and_the_newest(kind) -> None:
    memory = Memory(kind())
    for turn in range(20):
        read(memory, [3 + turn, 4, 5])
        memory.mark()
    kept = [length for length, _ in memory._marks]
    assert kept in ([], list(range(60 - 3 * 7, 61, 3)))
    states = [state for _, state in memory._marks]
    memory.forget()
    assert not memory._marks and not any(map(any, states)), "a state that is dropped is overwritten"
