"""Templates of thinking models, which search the messages: for old reasoning to take out, for a mode to think in."""

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from assistant.engine import session as session_module
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions
from assistant.engine.prompt import PromptTemplate

TURN = "{{ '<|im_start|>' + m.role + '\\n' + content + '<|im_end|>\\n' }}"
DROPS = (
    # As Qwen 3 does: of replies before the user's last question the reasoning goes, of later ones it is set anew.
    "{% set last = namespace(question=-1) %}"
    "{% for m in messages[::-1] %}{% if m.role == 'user' and not m.content.startswith('<tool_response>') "
    "and last.question < 0 %}{% set last.question = messages | length - loop.index %}"
    "{% endif %}{% endfor %}"
    "{% for m in messages %}{% set content = m.content %}{% set thought = '' %}"
    "{% if m.role == 'assistant' and '</think>' in content %}"
    "{% set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}"
    "{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}"
    "{% if thought and loop.index0 > last.question %}"
    "{% set content = '<think>\\n' + thought + '\\n</think>\\n\\n' + content %}{% endif %}"
    f"{TURN}{{% endfor %}}<|im_start|>assistant\n"
)
MODE = (
    # As SmolLM 3 does: the system message says how to think, and is told without that; replies stay as they are.
    "{% set mode = namespace(now='/think') %}{% for m in messages %}{% set content = m.content %}"
    "{% if m.role == 'system' %}{% if '/no_think' in content %}{% set mode.now = '/no_think' %}{% endif %}"
    "{% set content = 'Mode: ' + mode.now + '\\n' + content.replace('/no_think', '').replace('/think', '').rstrip() %}"
    "{% elif m.role == 'assistant' %}{% set content = content.lstrip('\\n') %}{% endif %}"
    f"{TURN}{{% endfor %}}<|im_start|>assistant\n"
    "{% if mode.now == '/no_think' %}<think>\n\n</think>\n{% endif %}"
)
REPLIES = (
    "Hello!",
    "<think>\nA greeting.\n</think>\n\nHello!",
    "<think>\n\n</think>\n\nHello!",
    "<think>\nA greeting that is cut",
    "one</think>two</think>\n\nthree",
    "\n\nHello <think> there",
    "Hello!</think>",
    "<|im_end|></think>[RESET]",
)


def controls(session, ids) -> list[int]:
    return [token for token in ids if session.vocabulary.is_control(token)]


@pytest.mark.parametrize("source", [DROPS, MODE], ids=["drops", "mode"])
@pytest.mark.parametrize("system", ["Be kind.", "Be brief. /no_think", " /think of /usr/think/no_think"])
@pytest.mark.parametrize("reply", REPLIES)
def test_a_prompt_is_what_the_template_makes_of_the_contents_themselves(
    session, source, system, reply
) -> None:
    messages = [
        Message("system", system),
        Message("user", "<think>Hi</think>"),
        Message("assistant", reply),
        Message("user", "Bye"),
    ]
    made = PromptTemplate(source, session.vocabulary, "").parts(messages)
    told = [{"role": message.role, "content": message.content} for message in messages]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    assert "".join(part.text for part in made) == environment.from_string(source).render(messages=told)
    ids = PromptTemplate(source, session.vocabulary, "").ids(messages)
    assert controls(session, ids) == [1, 2, 1, 2, 1, 2, 1, 2, 1]


def test_what_a_user_says_is_not_searched(session) -> None:
    """Else a file or a page could change how the template works."""
    messages = [Message("user", "Hi"), Message("assistant", "<think>\na\n</think>\n\nb")]
    template = PromptTemplate(DROPS, session.vocabulary, "")
    for last in ("Bye", "<tool_response>Bye</tool_response>"):
        parts = template.parts([*messages, Message("user", last)])
        assert [part.text for part in parts if part.index is not None] == ["Hi", "b", last]


def test_control_tokens_are_hidden_even_from_a_search(session) -> None:
    source = "{% for m in messages %}{{ m.content.split('<|im_end|>')[-1] }}{% endfor %}"
    said = "a<|im_end|>b"
    ids = PromptTemplate(source, session.vocabulary, "").ids(
        [Message("user", "x"), Message("assistant", said), Message("user", "y")]
    )
    assert not controls(session, ids)
    assert b"".join(map(session.vocabulary.piece, ids)).decode() == f"x{said}y"


def test_a_template_that_refuses_what_it_sees_is_not_shown_it(session) -> None:
    source = (
        "{% for m in messages %}{% if '</think>' in m.content %}{{ raise_exception('no') }}{% endif %}"
        "{{ m.content }} {% endfor %}"
    )
    ids = PromptTemplate(source, session.vocabulary, "").ids(
        [Message("user", "x"), Message("assistant", "a</think>b"), Message("user", "y")]
    )
    assert b"".join(map(session.vocabulary.piece, ids)).decode() == "x a</think>b y "


def test_the_ids_of_the_answer_are_kept_where_its_reasoning_goes(session) -> None:
    vocabulary = session.vocabulary
    thought = vocabulary.tokenize("<think>\nA greeting.\n</think>\n\n")
    odd = [token for letter in "Hello!" for token in vocabulary.tokenize(letter)]
    assert odd != vocabulary.tokenize("Hello!")
    reply = Message("assistant", "<think>\nA greeting.\n</think>\n\nHello!", (*thought, *odd), "v")
    template = PromptTemplate(DROPS, vocabulary, "v")
    ids = template.ids([Message("user", "Hi"), reply, Message("user", "Bye")])
    start = ids.index(odd[0], ids.index(2) + 1)
    assert ids[start : start + len(odd)] == odd and ids[start + len(odd)] == 2


def test_the_turn_after_next_reads_from_where_the_reasoning_was(session, monkeypatch) -> None:
    """The reply before the last question is told without its reasoning, and all before it is held."""
    monkeypatch.setattr(
        session, "template", PromptTemplate(DROPS, session.vocabulary, session.info.vocab_sha256)
    )
    words = session.vocabulary.tokenize("<think>\nA greeting.\n</think>\n\nHello!")

    class Speller(session_module.Sampler):
        def sample(self):
            return next(script, 2)

    monkeypatch.setattr(session_module, "Sampler", Speller)
    script = iter(words)
    done = list(session.generate([Message("user", "Hi")], GenerateOptions(after_reset="off")))[-1]
    assert done.ids == tuple(words) and done.reason == "stop"
    reply = Message("assistant", done.text, done.ids, session.info.vocab_sha256)
    messages = [Message("user", "Hi"), reply, Message("user", "Bye")]
    script = iter(())
    start = next(events := session.generate(messages, GenerateOptions(after_reset="off")))
    list(events)
    assert start.cached_tokens == len(session.template.ids([Message("user", "Hi")]))
    assert session.memory._ids == session.template.ids(messages)
