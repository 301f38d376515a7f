"""A long prompt is read in chunks: it says how far it is, can be stopped within a chunk, and goes on from there."""

import ctypes

import numpy as np
import pytest
from llama_cpp import llama_cpp as c

from assistant.engine.cancelled import Cancelled
from assistant.engine.events import Done, Prefill, Start
from assistant.engine.generate import ResetRule, generate
from assistant.engine.memory import Memory
from assistant.engine.options import GenerateOptions
from assistant.engine.rewind import Reply
from assistant.engine.sampler import Sampler
from assistant.engine.vocabulary import Vocabulary
from assistant.engine.voice import Voice
from tests.engine.tiny_models import CHUNK

PROMPT = [1, *(3 + (7 * n) % 250 for n in range(5 * CHUNK + 9))]
TOLERANCE = 1e-4


@pytest.fixture
def context(kind):
    return kind()


@pytest.fixture
def decoded(context, monkeypatch):
    """How many tokens each decode was asked for, and whether it was let through."""
    counts: list[tuple[int, bool]] = []
    decode = context.decode

    def counting(ids, *, every=False):
        counts.append((len(ids), False))
        decode(ids, every=every)
        counts[-1] = (len(ids), True)

    monkeypatch.setattr(context, "decode", counting)
    return counts


def reply(context, memory, prompt=PROMPT):
    voice = Voice(
        "tiny", memory, Vocabulary(context.model), Sampler(context, GenerateOptions(), 1), context.uncancel
    )
    return generate(voice, prompt, [], ResetRule(), Reply(max_tokens=1))


def fresh(kind, *pieces):
    context = kind()
    memory = Memory(context)
    for ids in pieces:
        list(memory.read(ids))
    return context.logits().copy()


def stop_after(context, nodes):
    """Stop decodes at this node of their graphs, counted from now; returns what lets them run again."""
    seen = 0

    @ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)
    def stop(_data):
        nonlocal seen
        seen += 1
        return seen > nodes

    c.llama_set_abort_callback(context.handle, ctypes.cast(stop, c.ggml_abort_callback), None)

    def resume():
        assert stop is not None and seen > nodes, "it would have been stopped"
        data = ctypes.cast(context._stop, ctypes.c_void_p)
        c.llama_set_abort_callback(context.handle, context._strlen, data)

    return resume


def test_progress_is_told_chunk_by_chunk(context) -> None:
    memory = Memory(context)
    events = list(reply(context, memory))
    steps = [(event.done, event.total) for event in events if isinstance(event, Prefill)]
    assert steps == [
        (min(done, len(PROMPT)), len(PROMPT)) for done in range(CHUNK, len(PROMPT) + CHUNK, CHUNK)
    ]
    # The next turn counts only what is new.
    longer = [*PROMPT, *events[-1].ids, *range(3, 3 + CHUNK + 5)]
    steps = [event for event in reply(context, memory, longer) if isinstance(event, Prefill)]
    assert [(step.done, step.total) for step in steps] == [(CHUNK, CHUNK + 6), (CHUNK + 6, CHUNK + 6)]


def test_a_stop_between_chunks_reads_no_further_and_goes_on_there(kind, context, decoded) -> None:
    memory = Memory(context)
    events = []
    for event in reply(context, memory):
        events.append(event)
        if isinstance(event, Prefill) and event.done == 2 * CHUNK:
            context.cancel()
    assert isinstance(events[-1], Done) and events[-1].reason == "cancelled"
    assert decoded == [(CHUNK, True), (CHUNK, True), (CHUNK, False)]
    assert memory.length == context.end == 2 * CHUNK

    decoded.clear()
    context.uncancel()
    start, *_ = list(reply(context, memory))
    assert isinstance(start, Start) and start.cached_tokens == 2 * CHUNK
    assert decoded == [(CHUNK, True)] * 3 + [(10, True)]
    np.testing.assert_allclose(context.logits(), fresh(kind, PROMPT), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("nodes", [0, 5, 25])
@pytest.mark.parametrize("chunk", [0, 2])
def test_a_stop_within_a_chunk_loses_that_chunk_only(kind, context, nodes, chunk) -> None:
    memory = Memory(context)
    held = chunk * CHUNK
    list(memory.read(PROMPT[:held]))
    resume = stop_after(context, nodes)
    with pytest.raises(Cancelled):
        list(memory.read(PROMPT[held:]))
    resume()
    assert memory.length == context.end == held
    assert memory.hold(PROMPT) == held
    list(memory.read(PROMPT[held:]))
    np.testing.assert_allclose(context.logits(), fresh(kind, PROMPT), atol=TOLERANCE, rtol=0)


def test_a_stop_while_a_follow_up_is_read_keeps_the_reply_before_it(kind, context) -> None:
    memory = Memory(context)
    list(memory.read(PROMPT[:20]))
    memory.mark()
    for token in PROMPT[20:40]:
        memory.step(token)
    resume = stop_after(context, 5)
    with pytest.raises(Cancelled):
        list(memory.read(PROMPT[40:]))
    resume()
    assert memory.length == context.end == 40
    list(memory.read(PROMPT[40:]))
    wanted = fresh(kind, PROMPT[:20], *([token] for token in PROMPT[20:40]), PROMPT[40:])
    np.testing.assert_allclose(context.logits(), wanted, atol=TOLERANCE, rtol=0)


def test_a_stop_within_a_step_leaves_a_memory_that_can_go_on(kind, context) -> None:
    """A memory that cannot take one token back is again as it was at the reply's start."""
    memory = Memory(context)
    list(memory.read(PROMPT[:20]))
    memory.mark()
    for token in PROMPT[20:30]:
        memory.step(token)
    resume = stop_after(context, 5)
    with pytest.raises(Cancelled):
        memory.step(7)
    resume()
    assert memory.length == context.end == (20 if context.model.recurrent else 30)
    rest = PROMPT[memory.length : 30]
    for token in rest:
        memory.step(token)
    memory.step(7)
    wanted = fresh(kind, PROMPT[:20], *([token] for token in [*PROMPT[20:30], 7]))
    np.testing.assert_allclose(context.logits(), wanted, atol=TOLERANCE, rtol=0)
