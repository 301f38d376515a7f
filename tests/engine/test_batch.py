"""Several conversations in one context: each goes on as if it had a context of its own."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from assistant.engine.batch import Batch
from assistant.engine.cancelled import Cancelled
from assistant.engine.events import Done, Error
from assistant.engine.libllama import Context, Model
from assistant.engine.memory import Memory
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions, LoadOptions
from assistant.engine.parallel import open_sessions
from assistant.engine.session import Session
from convert.errors import TakebackError
from tests.engine.tiny_models import CHUNK, KINDS, write_dense_model

OTHER_BATCHES = 1e-2
"""Some matrix kernels round in another way for several columns than for one, and keys are stored as f16."""
PROMPTS = [[1, *range(100 + 9 * n, 120 + 12 * n)] for n in range(4)]
WORDS = ("the sea", "a the sea", "sea sea the", "the the the")


@pytest.fixture
def batch(kind):
    """Makes a batch of so many slots, which ends with the test."""
    made = []

    def make(count):
        context = kind(count)
        context.model.free = lambda: None  # it is the other tests' too
        made.append(Batch(context, count))
        return made[-1]

    yield make
    for one in made:
        for slot in one.slots:
            slot.free()
        assert not one._thread.is_alive()


def together(batch, *works):
    """Run a work for each slot in a thread of its own, in step from the start: each decode waits for all."""
    batch._choosing |= set(batch.slots[: len(works)])

    def run(slot, work):
        try:
            return work(slot)
        finally:
            slot.rest()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, batch.slots, works))


def reading(prompt, steps, then=lambda memory, step: None):
    """Reads a prompt and steps on; returns the logits after each. `then` may meddle with the memory."""

    def work(slot):
        memory, seen = Memory(slot), []
        for _ in memory.read(prompt):
            pass
        memory.mark()
        for step in range(steps):
            memory.step(3 + step % 200)
            seen.append(slot.logits().copy())
            then(memory, step)
        return seen

    return work


def alone(context, prompt, steps):
    return reading(prompt, steps)(context)


@pytest.mark.parametrize("count", [2, 4])
def test_each_slot_has_the_logits_of_a_context_of_its_own(kind, batch, count) -> None:
    found = together(batch(count), *(reading(prompt, 30) for prompt in PROMPTS[:count]))
    for prompt, logits in zip(PROMPTS, found, strict=False):
        np.testing.assert_allclose(logits, alone(kind(), prompt, 30), atol=OTHER_BATCHES, rtol=0)


@pytest.mark.parametrize("how", ["rewind", "scrub", "forget"])
def test_a_reset_in_one_slot_leaves_the_others_untouched(kind, batch, how) -> None:
    def reset(memory, step):
        if step == 24:
            memory.forget() if how == "forget" else getattr(memory, how)(len(PROMPTS[1]))

    plain = together(batch(2), reading(PROMPTS[0], 40), reading(PROMPTS[1], 40))
    found = together(batch(2), reading(PROMPTS[0], 40), reading(PROMPTS[1], 40, reset))
    # Bit for bit, unless going back takes reading again, beside a token of the other; or the other's memory
    # was put aside for a wipe, and lies in other cells.
    model = kind().model
    same = how == "rewind" and not model.window and not model.recurrent
    np.testing.assert_allclose(found[0], plain[0], atol=0 if same else OTHER_BATCHES, rtol=0)
    assert np.abs(np.subtract(found[1], plain[1])).max() > 100 * OTHER_BATCHES


def test_after_its_own_reset_a_slot_is_as_if_there_had_been_no_draft(kind, batch) -> None:
    def reset(memory, step):
        if step == 299:  # a draft longer than the cells of the window
            memory.scrub(len(PROMPTS[0]))
            memory.step(7)

    one = batch(2)
    memories = []
    together(
        one,
        reading(PROMPTS[0], 300, lambda memory, step: (reset(memory, step), memories.append(memory))),
        reading(PROMPTS[1], 300),
    )
    assert memories[0]._ids == [*PROMPTS[0], 7] and one.slots[0].end == len(PROMPTS[0]) + 1
    last = together(one, lambda slot: (memories[0].step(8), slot.logits().copy()))[0][1]
    context = kind()
    fresh = Memory(context)
    for _ in fresh.read(PROMPTS[0]):
        pass
    fresh.step(7)
    fresh.step(8)
    np.testing.assert_allclose(last, context.logits(), atol=OTHER_BATCHES, rtol=0)


def test_a_slot_can_go_back_after_another_was_wiped(kind, batch) -> None:
    """What was put aside and back has lost what a sliding window hides, and the reply's start with it."""

    def wipe(memory, step):
        if step == 50:
            memory.forget()

    def reset(memory, step):
        if step == 60:
            memory.rewind(len(PROMPTS[0]))

    found = together(batch(2), reading(PROMPTS[0], 64, reset), reading(PROMPTS[1], 70, wipe))[0]

    def begin_anew(memory, step):
        if step == 60:
            memory.forget()
            for _ in memory.read(PROMPTS[0]):
                pass

    wanted = reading(PROMPTS[0], 64, begin_anew)(kind())
    np.testing.assert_allclose(found, wanted, atol=OTHER_BATCHES, rtol=0)


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    return write_dense_model(tmp_path_factory.mktemp("batch") / "tiny.gguf")


@pytest.fixture
def slots(dense):
    batch = Batch(Context(Model(dense), n_ctx=1024, threads=1, chunk=CHUNK, sequences=2), 2)
    yield batch.slots
    for slot in batch.slots:
        slot.free()


def test_a_slot_that_cannot_be_kept_hears_of_it_and_goes_on(slots, monkeypatch) -> None:
    first, second = (Memory(slot) for slot in slots)
    for memory, slot in zip((first, second), slots, strict=True):
        list(memory.read(PROMPTS[0]))
        slot.rest()

    def save(**_):
        raise MemoryError

    monkeypatch.setattr(slots[1], "save", save)
    first.forget()
    with pytest.raises(TakebackError, match="--parallel"):
        second.step(7)
    assert second.length == 0
    list(second.read(PROMPTS[0]))
    assert slots[1].end == len(PROMPTS[0])


def test_a_scrub_overwrites_all_but_what_is_held(slots, monkeypatch) -> None:
    context = slots[0]._batch.context
    first, second = (Memory(slot) for slot in slots)
    for memory, slot in zip((first, second), slots, strict=True):
        list(memory.read(PROMPTS[0] + PROMPTS[1]))
        slot.rest()
    held, wiped, states, save = slots[1].save(), [], [], slots[1].save
    clear = context.clear
    monkeypatch.setattr(context, "clear", lambda: (wiped.append(True), clear()))
    monkeypatch.setattr(slots[1], "save", lambda: states.append(save()) or states[-1])
    first.scrub(len(PROMPTS[0]))
    assert wiped and states and not any(map(any, states)), "what was put aside is overwritten too"
    assert first.length == slots[0].end == len(PROMPTS[0]) and save() == held


def test_a_prompt_does_not_hold_up_a_reply(slots) -> None:
    """It is read in pieces, each beside a token of the reply; no batch takes more tokens than it has room for."""
    batch = slots[0]._batch
    batches, decode = [], batch._decode
    batch._decode = lambda parts: (batches.append([count for _, count in parts]), decode(parts))[1]

    def prompt(slot):
        list(Memory(slot).read([1] * 3 * CHUNK))

    together(batch, reading([5], 4), prompt)
    assert batches[0] == [1, CHUNK - 1] and all(sum(counts) <= CHUNK for counts in batches)
    assert sum(sum(counts) for counts in batches) == 5 + 3 * CHUNK
    assert sum(1 in counts and len(counts) > 1 for counts in batches) >= 3


def test_a_failure_is_told_to_each_slot_in_the_batch_and_is_over(slots, monkeypatch) -> None:
    batch = slots[0]._batch

    def fail(_rows):
        raise TakebackError("llama.cpp failed")

    monkeypatch.setattr(batch.context, "decode_batch", fail)

    def work(slot):
        with pytest.raises(TakebackError, match=r"llama\.cpp failed"):
            slot.decode([5])

    together(batch, work, work)
    monkeypatch.undo()
    together(batch, reading([5], 2), reading([6], 2))


def test_a_cancel_ends_a_slots_part_and_no_others(slots) -> None:
    def waiting(slot):
        memory = Memory(slot)
        threading.Timer(0.05, slot.cancel).start()
        with pytest.raises(Cancelled):
            while True:
                for _ in memory.read([1] * CHUNK):
                    pass
                memory.forget()
        assert memory.cancelled and memory.length == slot.end
        slot.uncancel()
        memory.step(5)

    def writing(slot):
        reading([5], 200)(slot)
        return slot.end

    assert together(slots[0]._batch, writing, waiting)[0] == 201


def test_a_cancel_of_all_stops_the_decode(slots, monkeypatch) -> None:
    context = slots[0]._batch.context
    decode = context.decode_batch

    def slow(rows):
        end = time.monotonic() + 30
        while not context.cancelled and time.monotonic() < end:
            time.sleep(0.01)
        decode(rows)

    monkeypatch.setattr(context, "decode_batch", slow)

    def work(slot):
        with pytest.raises(Cancelled):
            slot.decode([5])
        slot.uncancel()

    for slot in slots:
        threading.Timer(0.1, slot.cancel).start()
    together(slots[0]._batch, work, work)
    assert not context.cancelled and [slot.end for slot in slots] == [0, 0]


def test_ids_outside_the_vocabulary_never_reach_llama_cpp(slots) -> None:
    for ids in ([-1], [10_000], [], [1] * (CHUNK + 1)):
        with pytest.raises(ValueError, match=r"outside|chunk"):
            slots[0].decode(ids)
    with pytest.raises(ValueError, match="no logits"):
        slots[0].logits()


def replies(sessions, options):
    """The last events of one reply of each session, written at once."""

    def write(session, words, own):
        return list(session.generate([Message("user", words)], own))[-1]

    with ThreadPoolExecutor(len(sessions)) as pool:
        return list(pool.map(write, sessions, WORDS, options))


@pytest.fixture(scope="module", params=[name for name, (_, full) in KINDS.items() if not full])
def sessions(request, tmp_path_factory):
    path = KINDS[request.param][0](tmp_path_factory.mktemp("sessions") / "tiny.gguf")
    opened = open_sessions(path, LoadOptions(ctx=512, threads=1, reset_token="[RESET]"), count=4)
    yield path, opened
    for session in opened:
        session.close()


@pytest.mark.parametrize("count", [2, 4])
def test_replies_at_once_are_those_one_by_one(sessions, count) -> None:
    path, opened = sessions
    # A bias at which some of them are taken back, so that one is, while others are being written.
    ways = [GenerateOptions(temperature=0, seed=1, max_tokens=40, reset_bias=bias) for bias in (0, 2, 3, 4)]
    found = replies(opened[:count], ways)
    with Session.open(path, LoadOptions(ctx=512, threads=1, reset_token="[RESET]")) as single:
        wanted = [
            list(single.generate([Message("user", w)], o))[-1] for w, o in zip(WORDS, ways, strict=True)
        ]
    told = [(done.ids, done.reason, done.resets, done.discarded_tokens) for done in wanted[:count]]
    assert [(done.ids, done.reason, done.resets, done.discarded_tokens) for done in found] == told
    if count == 4:
        assert any(done.resets for done in found)


def test_a_seed_gives_the_same_replies_twice(sessions) -> None:
    ways = [GenerateOptions(temperature=1.5, seed=seed, max_tokens=30, reset_bias=2) for seed in range(4)]
    first, second = (replies(sessions[1], ways) for _ in range(2))
    assert [done.ids for done in first] == [done.ids for done in second]


def test_a_cancel_frees_its_slot(sessions) -> None:
    opened = sessions[1][:2]
    ways = [GenerateOptions(seed=1, max_tokens=n, after_reset="off") for n in (400, 20)]
    stopped = threading.Event()

    def stop_the_first():
        while opened[0].context.end < 40 and not stopped.wait(0.001):
            pass
        opened[0].cancel()

    opened[0].vocabulary.is_end = opened[1].vocabulary.is_end = lambda token: False
    watcher = threading.Thread(target=stop_the_first)
    watcher.start()
    first, second = replies(opened, ways)
    stopped.set()
    watcher.join()
    assert (first.reason, second.reason) == ("cancelled", "length")
    again = replies(opened, [ways[1], ways[1]])
    assert [done.reason for done in again] == ["length", "length"]
    assert opened[0].memory.length == opened[0].context.end


def test_a_reply_that_fails_holds_up_nobody(sessions) -> None:
    opened = sessions[1][:2]
    long = Message("user", "the sea " * 800)
    events = list(opened[0].generate([long], GenerateOptions(seed=1)))
    assert isinstance(events[-1], Error) and "--ctx" in events[-1].message
    assert isinstance(replies(opened[1:], [GenerateOptions(seed=1, max_tokens=3)])[0], Done)


@pytest.mark.slow
def test_a_real_models_replies_at_once_are_those_one_by_one(base_model) -> None:
    """Bit for bit, since its kernels take one column at a time; and with the next turn after it."""
    options = LoadOptions(ctx=512, threads=1)
    greedy = GenerateOptions(temperature=0, seed=1, max_tokens=24)
    opened = open_sessions(base_model, options, count=4)
    found = replies(opened, [greedy] * 4)
    for session in opened:
        session.close()
    with Session.open(base_model, options) as single:
        assert [done.text for done in found] == [
            list(single.generate([Message("user", words)], greedy))[-1].text for words in WORDS
        ]


def test_a_slow_batch_is_tried_with_fewer_threads(dense, monkeypatch) -> None:
    context = Context(Model(dense), n_ctx=256, threads=2, chunk=CHUNK, sequences=2)
    batch = Batch(context, 2)
    threads, decode = [2], context.decode_batch
    monkeypatch.setattr(context, "set_threads", lambda *numbers: threads.append(numbers))

    def slow(rows):
        time.sleep(0.02 if threads[-1] == 2 or threads[-1] == (2, 2) else 0)
        decode(rows)

    monkeypatch.setattr(context, "decode_batch", slow)
    together(batch, reading([5], 40), reading([6], 40))
    assert threads[1] == (1, 1)
    for slot in batch.slots:
        slot.free()
