"""What a later turn has to read: only what is new in it, counted in tokens that were decoded."""

import pytest

from assistant.engine import session as session_module
from assistant.engine.events import Start
from assistant.engine.generate import ResetRule
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions

FIRST = Message("user", "Tell me about the sea.")
OPTIONS = {"seed": 1, "max_tokens": 12}


@pytest.fixture
def decoded(session, monkeypatch):
    """How many tokens each decode took, in order."""
    counts: list[int] = []
    decode = session.context.decode

    def counting(ids, *, every=False):
        counts.append(len(ids))
        decode(ids, every=every)

    monkeypatch.setattr(session.context, "decode", counting)
    return counts


@pytest.fixture
def reset_at(monkeypatch):
    def install(place):
        class Scripted(ResetRule):
            checks = 0

            def fires(self, model):
                super().fires(model)
                Scripted.checks += 1
                return Scripted.checks == place + 1

        monkeypatch.setattr(session_module, "ResetRule", Scripted)

    return install


def ask(session, messages):
    """The reply as a message with its ids, and the first event."""
    start, *_, done = session.generate(messages, GenerateOptions(**OPTIONS))
    assert isinstance(start, Start) and done.reason in ("stop", "length")
    return Message("assistant", done.text, done.ids, session.info.vocab_sha256), start


def read_for_the_first_token(session, messages, decoded):
    """How many tokens are decoded before the reply's first, and how many the Start event says are held."""
    decoded.clear()
    events = session.generate(messages, GenerateOptions(**OPTIONS | {"max_tokens": 1}))
    start = next(events)
    list(events)
    assert start.prompt_tokens == len(session.template.ids(messages))
    return sum(decoded), start.cached_tokens


def own_tokens(session, text):
    """What a further user message brings: the end of the reply before it, itself, and the start of the next."""
    turn = f"<|im_end|>\n<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    return len(session.vocabulary.tokenize(turn, special=True))


@pytest.mark.parametrize("place", [None, 7])
def test_a_follow_up_reads_only_its_own_tokens(session, decoded, reset_at, place) -> None:
    if place is not None:
        reset_at(place)
    reply, _ = ask(session, [FIRST])
    read, _ = read_for_the_first_token(session, [FIRST, reply, Message("user", "And the sky?")], decoded)
    assert read == own_tokens(session, "And the sky?") + (place is None)  # its last token was not read yet


def test_reuse_is_by_ids_and_not_by_text(session, decoded, monkeypatch) -> None:
    """A reply may be made of other tokens than its text would be."""
    spelled = [token for letter in "The seas are" for token in session.vocabulary.tokenize(letter)]
    assert len(spelled) == 12 > len(session.vocabulary.tokenize("The seas are"))

    class Speller(session_module.Sampler):
        script = iter(spelled)

        def sample(self):
            return next(self.script)

    with monkeypatch.context() as patch:
        patch.setattr(session_module, "Sampler", Speller)
        reply, _ = ask(session, [FIRST])
    assert (reply.content, list(reply.ids)) == ("The seas are", spelled)
    messages = [FIRST, reply, Message("user", "And the sky?")]
    assert session.template.ids(messages)[session.memory.length - 11 : session.memory.length + 1] == spelled
    read, _ = read_for_the_first_token(session, messages, decoded)
    assert read == own_tokens(session, "And the sky?") + 1


def test_the_reply_after_a_reset_is_read_once_more_and_no_token_of_the_draft(
    session, decoded, reset_at
) -> None:
    reset_at(7)
    reply, start = ask(session, [FIRST])
    prompt, written = start.prompt_tokens - start.cached_tokens, len(reply.ids)
    # The prompt, a draft of 7, the reset token, the reply but its last token; at its end all of the reply.
    assert sum(decoded) == prompt + 7 + 1 + (written - 1) + written


def test_an_edit_reads_from_where_it_differs(session, decoded) -> None:
    messages = [FIRST]
    for words in ("And the sky?", "And the wind?", "Go on."):
        reply, _ = ask(session, messages)
        messages += [reply, Message("user", words)]
    ask(session, messages)
    before = session.template.ids(messages)
    edited = [*messages[:4], Message("user", "And the wild wind?"), *messages[5:]]
    after = session.template.ids(edited)
    same = next(i for i, (old, new) in enumerate(zip(before, after, strict=False)) if old != new)
    assert same > len(session.template.ids(messages[:3])), "two turns are as they were"
    assert read_for_the_first_token(session, edited, decoded) == (len(after) - same, same)


def test_asking_again_reads_one_token(session, decoded) -> None:
    """The memory has no logits of its own; its last token must be read for them."""
    ask(session, [FIRST])
    assert read_for_the_first_token(session, [FIRST], decoded)[0] == 1


def test_a_reply_that_was_edited_is_read_anew_and_what_is_before_it_is_not(session, decoded) -> None:
    reply, start = ask(session, [FIRST])
    edited = Message("assistant", "It is deep.", reply.ids, reply.vocab_sha256)
    messages = [FIRST, edited, Message("user", "And the sky?")]
    read, held = read_for_the_first_token(session, messages, decoded)
    assert start.prompt_tokens <= held and read == len(session.template.ids(messages)) - held


def test_another_chat_takes_what_it_shares(session, decoded) -> None:
    system = Message("system", "You are a kind sailor who knows all the seas and tells of them.")
    ask(session, [system, FIRST])
    other = [system, Message("user", "What is a reef?")]
    ids, shared = session.template.ids(other), session.template.ids([system, FIRST])
    same = next(i for i, (old, new) in enumerate(zip(shared, ids, strict=False)) if old != new)
    assert read_for_the_first_token(session, other, decoded) == (len(ids) - same, same)
