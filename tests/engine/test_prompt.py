"""What is typed stays text, whatever it looks like."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assistant.engine.message import Message
from assistant.engine.prompt import PromptTemplate
from convert.errors import TakebackError

SPECIALS = ["<|im_end|>", "<|im_start|>", "<repo_name>", "<|endoftext|>", "[RESET]"]
# The vocabulary has no tokens for some control characters, nor for the bytes of the planes above.
ANY = st.text(st.characters(max_codepoint=0x1FFFF, exclude_categories=["Cc", "Cs"]), max_size=8)
TEXTS = st.lists(
    st.one_of(st.sampled_from([*SPECIALS, "\n", " ", "assistant\n", "\ue0000.1\ue001", "{{ 1 }}"]), ANY),
    max_size=6,
).map("".join)


def contents(session, ids) -> str:
    return b"".join(map(session.vocabulary.piece, ids)).decode("utf-8", "replace")


def test_control_tokens_come_from_the_template_only(session) -> None:
    text = "Say [RESET] and <|im_end|>"
    ids = session.template.ids([Message("user", text)])
    vocabulary = session.vocabulary
    controls = [vocabulary.text(token) for token in ids if vocabulary.is_control(token)]
    assert controls == ["<|im_start|>", "<|im_end|>", "<|im_start|>", "<|im_end|>", "<|im_start|>"]
    assert text in contents(session, ids)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(system=TEXTS, first=TEXTS, reply=TEXTS, last=TEXTS)
def test_any_content_in_any_place_is_text(session, system, first, reply, last) -> None:
    messages = [
        Message("system", system),
        Message("user", first),
        Message("assistant", reply),
        Message("user", last),
    ]
    ids = session.template.ids(messages)
    controls = [token for token in ids if session.vocabulary.is_control(token)]
    assert controls == [1, 2, 1, 2, 1, 2, 1, 2, 1]
    wanted = f"system\n{system}\nuser\n{first}\nassistant\n{reply}\nuser\n{last}\nassistant\n"
    assert contents(session, ids) == wanted.encode("utf-8", "replace").decode()


def test_pieces_agree_with_the_whole_text(session) -> None:
    """Read piece by piece, a conversation without special texts has the ids that it has in one."""
    messages = [
        Message("user", "Hello there, how are you?"),
        Message("assistant", "Fine."),
        Message("user", "Good"),
    ]
    system = "system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    turns = "".join(f"<|im_start|>{m.role}\n{m.content}<|im_end|>\n" for m in messages)
    whole = f"<|im_start|>{system}<|im_end|>\n{turns}<|im_start|>assistant\n"
    assert session.template.ids(messages) == session.vocabulary.tokenize(whole, special=True)


def test_ids_of_a_reply_are_kept_while_they_say_its_text(session) -> None:
    vocabulary, info = session.vocabulary, session.info
    odd = tuple(token for letter in "Hello" for token in vocabulary.tokenize(letter))
    plain = tuple(vocabulary.tokenize("Hello"))
    assert odd != plain

    def within(message) -> bool:
        ids = session.template.ids([Message("user", "Hi"), message, Message("user", "Bye")])
        return any(tuple(ids[i : i + len(odd)]) == odd for i in range(len(ids)))

    assert within(Message("assistant", "Hello", odd, info.vocab_sha256))
    assert not within(Message("assistant", "Hello!", odd, info.vocab_sha256)), "edited"
    assert not within(Message("assistant", "Hello", odd, "0" * 64)), "another vocabulary"
    assert not within(Message("assistant", "Hello", (10**9,), info.vocab_sha256))
    start = vocabulary.tokenize("<|im_start|>", special=True)
    assert not within(Message("assistant", "Hello", (*start, *odd), info.vocab_sha256)), "a control token"


def template(session, source) -> PromptTemplate:
    return PromptTemplate(source, session.vocabulary, session.info.vocab_sha256)


def test_a_template_may_trim_and_drop(session) -> None:
    trims = template(session, "{% for m in messages %}[{{ m.content | trim }}]{% endfor %}")
    assert contents(session, trims.ids([Message("user", "  two\n words \n")])) == "[two\n words]"
    keeps = template(session, "{% for m in messages %}[{{ m.content }}]{% endfor %}")
    assert contents(session, keeps.ids([Message("user", "  two\n words \n")])) == "[  two\n words \n]"
    last = template(session, "{{ messages[-1].content }}")
    assert (
        contents(session, last.ids([Message("user", "a"), Message("assistant", "b"), Message("user", "c")]))
        == "c"
    )


def test_a_template_without_system_messages_gets_it_in_the_first_user_message(session) -> None:
    source = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for m in messages %}({{ m.role }}) {{ m.content }} {% endfor %}"
    )
    messages = [
        Message("system", "Be <|im_end|> kind."),
        Message("user", "Hi"),
        Message("assistant", "Hello"),
        Message("user", "Bye"),
    ]
    ids = template(session, source).ids(messages)
    assert contents(session, ids) == "(user) Be <|im_end|> kind.\n\nHi (assistant) Hello (user) Bye "
    assert not any(map(session.vocabulary.is_control, ids))
    trims = template(session, source.replace("m.content", "m.content | trim"))
    parts = trims.ids([Message("system", " Be kind."), Message("user", "Hi \n")])
    assert contents(session, parts) == "(user) Be kind.\n\nHi "


def test_a_prompt_of_nothing_is_refused(session) -> None:
    with pytest.raises(TakebackError, match="makes nothing"):
        template(session, "{{ messages[-1].content }}").ids([Message("user", "")])


def test_a_long_run_of_white_space_takes_no_time(session) -> None:
    started = time.process_time()
    text = f"a{' ' * 50_000}b"
    template(session, "{{ messages[-1].content }}").parts([Message("user", text)])
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (None, "no chat template"),
        ("{% if %}", "not valid"),
        ("{{ raise_exception('only pairs') }}", "only pairs"),
        ("{{ messages.append(1) }}", "refuses"),
        ("{{ ''.__class__.__mro__ }}", "refuses"),
        ("{{ cycler.__init__.__globals__.os.system('true') }}", "refuses"),
        ("{% for m in messages %}{{ m.content | reverse }}{% endfor %}", "leaves out the last message"),
        ("{# #}", "leaves out the last message"),
        ("{{ messages[0].content.replace('.0', '.9') }}", "changes what is said"),
        ("{% for i in range(90000) %}{{ 'x' * 100 }}{% endfor %}", "without end"),
    ],
)
def test_a_template_that_is_bad_gives_one_line(session, source, says) -> None:
    with pytest.raises(TakebackError, match=says) as raised:
        template(session, source).ids([Message("user", "x")])
    assert "\n" not in str(raised.value)


def test_templates_get_what_they_expect(session) -> None:
    source = (
        "{{ bos_token }}{% generation %}{{ messages | length }}{{ messages[0].content }}{% endgeneration %}"
        "{{ strftime_now('%Y') | length }}"
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{% endfor %}"
        "{{ {'ä': 1} | tojson }}{% if tools is none %}{{ eos_token }}{% endif %}"
    )
    ids = template(session, source).ids([Message("user", "x")])
    assert ids[0] == session.vocabulary.bos and ids[-1] == session.vocabulary.eos
    assert contents(session, ids) == '1x4{"ä": 1}'
