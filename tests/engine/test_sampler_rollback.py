"""A reset takes every sampler's state back with the draft, and a seed gives the same reply twice."""

import pytest

from assistant.engine.generate import ResetRule, generate
from assistant.engine.libllama import Context, Model
from assistant.engine.memory import Memory
from assistant.engine.options import GenerateOptions
from assistant.engine.rewind import Reply
from assistant.engine.sampler import Sampler, reset_margin
from assistant.engine.vocabulary import Vocabulary
from assistant.engine.voice import Voice
from tests.engine import tiny_models

PROMPT = [1, *range(100, 110)]
RESET = 3 + 256 + len(tiny_models.WORDS) - 1
LENGTH, DRAFT = 60, 40
FREE = {"temperature": 1.5, "top_p": 1.0, "min_p": 0.0, "top_k": 0, "repeat_penalty": 1.0}
SAMPLERS = {
    "penalties": {"temperature": 0.0, "repeat_penalty": 1.3},
    "dry": {"temperature": 0.0, "repeat_penalty": 1.0, "dry": 2.0},
    "random numbers": FREE,
    "xtc": FREE | {"xtc": 0.5, "top_k": 4},
    "mirostat": FREE | {"mirostat": 3.0},
    "all of them": FREE | {"repeat_penalty": 1.2, "dry": 1.0, "xtc": 0.5, "mirostat": 3.0},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model(tiny_models.write_dense_model(tmp_path_factory.mktemp("rollback") / "tiny.gguf"))


@pytest.fixture(params=SAMPLERS.values(), ids=SAMPLERS)
def options(request):
    return request.param


def write(model, options, *, draft=None, seed=1, rolls_back=True):
    """The ids of a reply of LENGTH tokens, after a reset at the draft's end, or without one."""

    class AtTheEnd(ResetRule):
        checks = 0

        def fires(self, model):
            super().fires(model)
            AtTheEnd.checks += 1
            if AtTheEnd.checks - 1 == draft:
                reply._max_tokens = LENGTH
            return AtTheEnd.checks - 1 == draft

    context = Context(model, n_ctx=512, threads=1)
    sampler = Sampler(context, GenerateOptions(**options), seed)
    voice = Voice("tiny", Memory(context), Vocabulary(model), sampler, context.uncancel)
    voice.is_end = lambda token: False
    if not rolls_back:
        voice.restart = lambda *_, **__: None
    reply = Reply(max_tokens=LENGTH if draft is None else None)
    done = list(generate(voice, PROMPT, [], AtTheEnd(RESET, "rewind"), reply))[-1]
    sampler.close()
    assert done.resets == (draft is not None) and len(done.ids) == LENGTH
    return list(done.ids)


def by_hand(model, options, *, before=(), after=()):
    """What a sampler writes after the prompt and a reset, if it has seen these tokens before its restart or after."""
    context = Context(model, n_ctx=512, threads=1)
    memory = Memory(context)
    list(memory.read(PROMPT))
    memory.step(RESET)
    sampler = Sampler(context, GenerateOptions(**options), 1)
    for token in before:
        sampler.accept(token)
    sampler.restart(1)
    for token in after:
        sampler.accept(token)
    ids = []
    for _ in range(LENGTH):
        reset_margin(context.logits(), RESET)
        ids.append(sampler.sample())
        memory.step(ids[-1])
    sampler.close()
    return ids


def test_after_a_reset_the_reply_is_that_of_a_fresh_sampler(model, options) -> None:
    wanted = by_hand(model, options)
    assert write(model, options, draft=DRAFT) == wanted
    assert write(model, options, draft=3) == wanted
    assert by_hand(model, options, before=wanted) == wanted
    # And there is something to take back: what was said, or the place in the random numbers.
    left = by_hand(model, options, after=wanted), write(model, options, draft=DRAFT, rolls_back=False)
    assert left != (wanted, wanted)


def test_a_seed_gives_the_same_reply_twice(model, options) -> None:
    for draft in (None, 5):
        first = write(model, options, draft=draft, seed=7)
        assert write(model, options, draft=draft, seed=7) == first
        if options["temperature"]:
            assert write(model, options, draft=draft, seed=8) != first


def test_each_sampler_does_something(model, options) -> None:
    plain = FREE | {key: options[key] for key in ("temperature", "top_k") if key in options}
    said = by_hand(model, plain)
    assert options == plain or by_hand(model, options, after=said) != by_hand(model, plain, after=said)


def test_two_samplers_never_draw_the_same_numbers() -> None:
    from assistant.engine.sampler import stream_seed

    assert stream_seed(1, 0) != stream_seed(1, 0, ":xtc")
