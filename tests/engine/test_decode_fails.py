"""What follows where llama.cpp says that a decode failed: one line, and a memory that the next reply can use."""

import pytest

from assistant.engine import libllama
from assistant.engine import session as session_module
from assistant.engine.events import Done, Error, Reset, Text
from assistant.engine.generate import ResetRule
from assistant.engine.libllama import Context, Model
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions, LoadOptions
from assistant.engine.session import Session
from convert.errors import TakebackError
from tests.engine.tiny_models import (
    write_dense_model,
    write_hybrid_model,
    write_recurrent_model,
    write_window_model,
)

QUESTION = [Message("user", "the sea")]
OPTIONS = GenerateOptions(seed=1, max_tokens=30, hold_back=0)
FULL, ABORTED, BAD_BATCH, FATAL = 1, 2, -1, -3
SAYS = {
    FULL: "the context is full; shorten the conversation or raise --ctx",
    BAD_BATCH: "llama.cpp failed to decode (code -1)",
    FATAL: "llama.cpp failed to decode (code -3)",
}


@pytest.fixture(
    scope="module", params=[write_dense_model, write_window_model, write_recurrent_model, write_hybrid_model]
)
def tiny(request, tmp_path_factory):
    path = request.param(tmp_path_factory.mktemp("tiny") / "tiny.gguf")
    with Session.open(path, LoadOptions(ctx=256, threads=1)) as session:
        yield session


@pytest.fixture
def decodes(monkeypatch, tiny):
    """Let these decodes of llama.cpp, counted from 0, come back with a code instead of being done."""
    tiny.memory.forget()
    really = libllama.c.llama_decode
    calls = []

    def install(code, *places, onwards=False):
        calls.clear()

        def decode(context, batch):
            calls.append(1)
            place = len(calls) - 1
            fails = place in places or (onwards and place > max(places))
            return code if fails else really(context, batch)

        monkeypatch.setattr(libllama.c, "llama_decode", decode)

    yield install
    monkeypatch.setattr(libllama.c, "llama_decode", really)


def ask(session):
    return list(session.generate(QUESTION, OPTIONS))


@pytest.mark.parametrize("code", [FULL, ABORTED, BAD_BATCH, FATAL])
@pytest.mark.parametrize("place", [0, 9], ids=["prompt", "reply"])
def test_a_failed_decode_is_told_and_the_next_reply_is_as_ever(tiny, decodes, code, place) -> None:
    wanted = ask(tiny)[-1]
    tiny.memory.forget()
    decodes(code, place)
    *before, last = ask(tiny)
    shown = "".join(event.text for event in before if isinstance(event, Text))
    assert wanted.text.startswith(shown) and bool(shown) == bool(place), "what was shown stays"
    if code == ABORTED:
        assert isinstance(last, Done) and last.reason == "cancelled" and last.text == shown
    else:
        assert isinstance(last, Error) and last.message.startswith(SAYS[code])
    assert tiny.memory.length == max(0, tiny.context.end)
    again = ask(tiny)[-1]
    assert (again.reason, again.ids) == (wanted.reason, wanted.ids)


@pytest.mark.parametrize("onwards", [False, True], ids=["once", "for good"])
def test_a_decode_that_fails_after_a_reset_leaves_no_draft(tiny, decodes, monkeypatch, onwards) -> None:
    """The draft is told gone, and is out of the memory, though the reset token itself was never read."""

    class AtTen(ResetRule):
        def fires(self, model):
            super().fires(model)
            vars(self)["checks"] = vars(self).get("checks", 0) + 1
            return vars(self)["checks"] == 11

    monkeypatch.setattr(session_module, "ResetRule", AtTen)
    decodes(FATAL, 11, onwards=onwards)
    events = ask(tiny)
    reset, last = events[-2:]
    assert isinstance(reset, Reset) and reset.discarded_tokens == 10
    assert isinstance(last, Error) and last.message.startswith(SAYS[FATAL])
    assert tiny.memory._ids == tiny.template.ids(QUESTION)[: tiny.memory.length], "nothing of the draft"
    assert tiny.memory.length == max(0, tiny.context.end)


def test_a_context_that_is_really_full_says_so(tmp_path) -> None:
    model = Model(write_dense_model(tmp_path / "tiny.gguf"))
    context = Context(model, n_ctx=256, threads=1)
    context.decode([7] * context.length)
    with pytest.raises(TakebackError, match="the context is full"):
        context.decode([7])
    assert context.end == context.length, "and holds what it held"
