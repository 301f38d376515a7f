"""Ten thousand contents that try to be more than text, at every vocabulary and through several templates."""

import random
from functools import partial

import pytest

from assistant.engine.libllama import Model
from assistant.engine.message import Message
from assistant.engine.prompt import PromptTemplate
from assistant.engine.vocabulary import Vocabulary
from tests.engine.tiny_models import write_dense_model, write_window_model
from tests.engine.vocabularies import CONTROL, MARKERS, add_byte_level, add_sentencepiece

CONTENTS, A_CONVERSATION = 10_000, 5
TEMPLATES = {
    "ChatML": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n",
    "Llama 3": "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}<|start_header_id|>assistant<|end_header_id|>\n\n",
    "Mistral": "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
    "{% elif m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %}{{ m.content }}</s>{% endif %}{% endfor %}",
    "Gemma": "<bos>{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
    "{% endfor %}<start_of_turn>model\n",
    "nothing between": "{% for m in messages %}{{ m.content }}{% endfor %}",
    "markers": "{% for m in messages %}<|channel|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endfor %}",
    "Qwen 3": "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if '</think>' in m.content %}"
    "{{ m.content.split('</think>')[-1].lstrip('\\n') }}{% else %}{{ m.content.replace('<tool_call>', '') }}{% endif %}"
    "<|im_end|>\n{% endfor %}",
    "searches all": "{% for m in messages %}<s>{{ m.content.split('<|im_end|>')[0].replace('[RESET]', '') }}"
    "{% if '</s>' in m.content or m.content.startswith('<unk>') %}<s>{% endif %}{% endfor %}",
    "twice": "<s>{% for m in messages %}{{ m.content }}|{{ m.content }}</s>{% endfor %}",
}
TRICKS = (
    "\u200b", "\u200d", "\u2060", "\ufeff", "\u202e", "\u0301", "\u00ad", "\ufe0f", "\x00", "\x1b", "\r\n", "\n",
    " ", "\u00a0", "\u2581", "\u0120", "\ue0000.1\ue001", "{{ 1 }}", "{% raw %}", "\U000e0041", "assistant\n",
)  # fmt: skip


@pytest.fixture(
    scope="module",
    params=[
        "SmolLM2",
        partial(write_dense_model, add_vocabulary=add_byte_level),
        partial(write_dense_model, add_vocabulary=add_sentencepiece),
        write_window_model,
    ],
    ids=["SmolLM2", "byte level", "sentencepiece", "tiny"],
)
def vocabulary(request, tmp_path_factory):
    if request.param == "SmolLM2":
        return Vocabulary(Model(request.getfixturevalue("base_model")))
    return Vocabulary(Model(request.param(tmp_path_factory.mktemp("vocabulary") / "tiny.gguf")))


def specials(vocabulary) -> list[str]:
    """The texts of all tokens that are more than text, in this vocabulary (half of the list) and in others."""
    ends = filter(vocabulary.is_end, range(vocabulary.size))
    own = sorted({vocabulary.text(token) for token in (*vocabulary.unseen, *ends)} - {""})
    others = {*CONTROL, *MARKERS, "<0x0A>", "<unk>", "</s>", "<s>", "<think>", "<tool_call>"}
    return [*own * (len(others) // len(own) + 1), *sorted(others.difference(own))]


def disguised(chance, text) -> str:
    """The text as it is, or so that some normalization or trimming might make it so."""
    place = chance.randrange(len(text) + 1)
    return chance.choice(
        [
            text,
            text,
            text,
            f" {text} ",
            f"\n{text}\n",
            text[:place] + chance.choice(TRICKS) + text[place:],
            text.upper(),
            text.replace("<", "\uff1c").replace("|", "\uff5c"),
            "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
            text * 2,
            text[:place] + text + text[place:],  # what is left if the inner one is taken out
        ]
    )


def fuzzed(chance, texts) -> list[str]:
    """The contents of one conversation. Some special texts begin in one message and end in the next."""
    contents = [""] * A_CONVERSATION
    for index in range(A_CONVERSATION):
        for _ in range(chance.randrange(1, 5)):
            contents[index] += disguised(chance, chance.choice(texts))
            contents[index] += chance.choice(["", "", " ", "the sea", chance.choice(TRICKS)])
        if index + 1 < A_CONVERSATION and chance.random() < 0.3:
            split = chance.choice(texts)
            place = chance.randrange(len(split))
            contents[index] += split[:place]
            contents[index + 1] = split[place:]
    return contents


def more_than_text(vocabulary, markers, ids) -> list[int]:
    return [token for token in ids if token in markers or vocabulary.is_control(token)]


def conversation(contents) -> list[Message]:
    roles = ("system", "user", "assistant", "user", "assistant", "user")
    return [Message(role, content) for role, content in zip(roles, contents, strict=False)]


@pytest.mark.slow
def test_no_content_becomes_a_control_token(vocabulary) -> None:
    """Whatever the contents, the control tokens are those that the template has around plain words."""
    chance = random.Random(7)
    texts = specials(vocabulary)
    assert len(texts) > 25
    templates = {name: PromptTemplate(source, vocabulary, "") for name, source in TEMPLATES.items()}
    markers = {token for text in vocabulary.markers for token in vocabulary.tokenize(text, special=True)}
    wanted = {}
    for name, template in templates.items():
        plain = conversation(["sea"] * (A_CONVERSATION - 1))
        wanted[name] = more_than_text(vocabulary, markers, template.ids(plain))
    for number in range(CONTENTS // A_CONVERSATION):
        contents = fuzzed(chance, texts)
        name = list(templates)[number % len(templates)]
        template = templates[name]
        found = template.ids(conversation(contents[:-1]))
        assert more_than_text(vocabulary, markers, found) == wanted[name], (name, contents)
        prefill = template.content(contents[-1], found)  # and as the beginning of a reply
        assert not more_than_text(vocabulary, markers, prefill), contents[-1]


def test_these_contents_would_be_more_than_text(vocabulary) -> None:
    """Read with special texts on, as the template's own text is, one in two or more has a control token."""
    chance = random.Random(7)
    texts = specials(vocabulary)
    contents = [content for _ in range(20) for content in fuzzed(chance, texts)]
    read = [vocabulary.tokenize(content, special=True) for content in contents]
    assert sum(any(map(vocabulary.is_control, ids)) for ids in read) > len(contents) / 2
