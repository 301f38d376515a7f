"""The reset's rule, and the random streams."""

import numpy as np
import pytest

from assistant.engine.options import GenerateOptions
from assistant.engine.sampler import Sampler, reset_margin, stream_seed
from convert.errors import TakebackError


def test_the_margin_is_to_the_largest_other_logit_and_the_token_is_masked() -> None:
    logits = np.array([1.0, 5.0, 3.0], np.float32)
    assert reset_margin(logits, 1) == 2.0
    assert logits[1] == -np.inf
    logits = np.array([1.0, 5.0, 3.0], np.float32)
    assert reset_margin(logits, 0) == -4.0


def test_a_model_that_computes_nonsense_is_an_error() -> None:
    with pytest.raises(TakebackError, match="NaN"):
        reset_margin(np.array([1.0, np.nan], np.float32), 0)


def test_each_reset_has_its_own_stream() -> None:
    seeds = {stream_seed(seed, resets) for seed in range(20) for resets in range(5)}
    assert len(seeds) == 100 and max(seeds) < 0xFFFF_FFFF
    assert stream_seed(7, 2) == stream_seed(7, 2)


def read(session, text):
    ids = session.vocabulary.tokenize(text)
    for _ in session.memory.read(ids[session.memory.hold(ids) :]):
        pass


def test_the_cut_before_the_penalty_changes_nothing(session) -> None:
    """The likeliest token after the penalty is found by hand over the whole vocabulary."""
    read(session, "one two three one two three one two")
    sampler = Sampler(session.context, GenerateOptions(temperature=0, repeat_penalty=1.8), 1)
    logits = session.context.logits().astype(np.float64)
    seen: set[int] = set()
    for _ in range(80):
        penalized = logits.copy()
        for token in seen:
            penalized[token] = penalized[token] / 1.8 if penalized[token] > 0 else penalized[token] * 1.8
        wanted = int(penalized.argmax())
        assert sampler.sample() == wanted
        seen.add(wanted)
        if len(seen) > 60:
            break


def test_restart_is_a_new_chain_with_another_stream(session) -> None:
    read(session, "Once upon a time")
    options = GenerateOptions(temperature=3.0, top_p=1.0, min_p=0.0)
    sampler = Sampler(session.context, options, 1)
    first = [sampler.sample() for _ in range(8)]
    sampler.restart(1)
    second = [sampler.sample() for _ in range(8)]
    sampler.restart(0)
    assert [sampler.sample() for _ in range(8)] == first != second


def test_a_greedy_reply_can_be_made_warmer(session) -> None:
    read(session, "My best friend's name is")
    sampler = Sampler(session.context, GenerateOptions(temperature=0, repeat_penalty=1), 1)
    assert len({sampler.sample() for _ in range(12)}) == 1
    sampler.restart(2, least_temperature=0.7)
    assert len({sampler.sample() for _ in range(30)}) > 1
