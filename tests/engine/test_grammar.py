"""A reply that must follow a grammar: it does, it may end, it may be taken back, and nothing ends the process."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from assistant.engine.constraint import Constraint
from assistant.engine.events import Error
from assistant.engine.generate import ResetRule, generate
from assistant.engine.grammar import check_grammar, grammar_of_schema, read_grammar_file
from assistant.engine.libllama import Context, Model
from assistant.engine.memory import Memory
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions
from assistant.engine.rewind import Reply
from assistant.engine.sampler import Sampler
from assistant.engine.vocabulary import Vocabulary
from assistant.engine.voice import Voice
from convert.errors import TakebackError
from tests.engine import tiny_models

PROMPT = [1, *range(100, 110)]
RESET, END = 3 + 256 + len(tiny_models.WORDS) - 1, 2
WARM = GenerateOptions(temperature=2.0, top_p=1.0, min_p=0.0, top_k=0)
SCHEMA = {
    "type": "object",
    "properties": {
        "sea": {"enum": ["calm", "wild"]},
        "depth": {"type": "integer"},
        "name": {"type": "string", "maxLength": 12},
    },
    "required": ["sea", "depth", "name"],
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model(tiny_models.write_dense_model(tmp_path_factory.mktemp("grammar") / "tiny.gguf"))


def write(model, grammar, *, at=(), options=WARM, seed=1, rule=None, prefill=(), **reply):
    """The last event of a reply within a grammar, with resets at these checks."""

    class Scripted(ResetRule):
        checks = 0

        def fires(self, model):
            super().fires(model)
            Scripted.checks += 1
            return Scripted.checks - 1 in at

    context = Context(model, n_ctx=512, threads=1)
    vocabulary = Vocabulary(model)
    sampler = Sampler(context, options, seed, Constraint(vocabulary, grammar))
    voice = Voice("tiny", Memory(context), vocabulary, sampler, context.uncancel)
    try:
        return list(
            generate(
                voice, PROMPT, prefill, rule or Scripted(RESET, "rewind"), Reply(max_tokens=200, **reply)
            )
        )[-1]
    finally:
        sampler.close()


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_a_reply_follows_the_grammar_and_ends(model, temperature) -> None:
    options = GenerateOptions(temperature=temperature, top_k=0, top_p=1.0, min_p=0.0)
    texts = set()
    for seed in range(6):
        done = write(model, 'root ::= "yes" | "no" | [0-9]{3} "é"', seed=seed, options=options)
        assert done.reason == "stop"
        assert re.fullmatch("yes|no|[0-9]{3}é", done.text)
        texts.add(done.text)
    assert (len(texts) > 1) == (temperature > 0)


def test_a_schema_gives_json_that_it_allows(model) -> None:
    grammar = grammar_of_schema(json.dumps(SCHEMA))
    for seed in range(4):
        done = write(model, grammar, seed=seed)
        assert done.reason == "stop", done
        found = json.loads(done.text)  # strict: no bare line break in a string
        assert found["sea"] in ("calm", "wild") and isinstance(found["depth"], int)
        # llama.cpp counts bytes that make no character (the random model writes them) as one.
        assert isinstance(found["name"], str) and len(found["name"].replace("\ufffd", "")) <= 12


def test_a_draft_is_taken_back_in_the_grammar_too(model) -> None:
    grammar = 'root ::= "ab" [a-z]{20} "end"'
    wanted = write(model, grammar, at=(0,))
    assert re.fullmatch("ab[a-z]{20}end", wanted.text)
    for place in (1, 9):
        done = write(model, grammar, at=(place,))
        assert done.resets == 1 and done.text == wanted.text
    twice = write(model, grammar, at=(5, 9))
    assert twice.resets == 2 and re.fullmatch("ab[a-z]{20}end", twice.text)


def test_no_grammar_holds_up_a_reset(model) -> None:
    """The rule itself: the reset token's own logit, which no grammar of these would let through."""
    for grammar in ('root ::= "yes"', "root ::= [a-z]*"):
        free = write(model, grammar, rule=ResetRule(RESET, "rewind", 1e6), max_resets=2)
        assert (free.reason, free.resets, free.text) == ("reset_limit", 3, "")
        never = write(model, grammar, rule=ResetRule(RESET, "rewind", -1e6), max_resets=2)
        assert never.resets == 0


def test_a_complete_grammar_can_always_end(tmp_path) -> None:
    """Also where the file forbids to sample the token that ends a reply."""
    path = tiny_models.write_window_model(tmp_path / "tiny.gguf", suppressed=(END,))
    done = write(Model(path), 'root ::= "yes"')
    assert (done.reason, done.text) == ("stop", "yes")


def test_a_control_token_is_not_its_text(model) -> None:
    done = write(model, 'root ::= "<s>[RESET]" "</s>"')
    assert done.text == "<s>[RESET]</s>" and not {1, 2, RESET} & set(done.ids)


def test_the_chain_sees_what_it_sees_without_a_grammar(model) -> None:
    """A grammar that allows all changes no choice."""
    anything = write(model, r"root ::= [\x00-\U0010FFFF]*", options=GenerateOptions(repeat_penalty=1.3))
    context = Context(model, n_ctx=512, threads=1)
    memory = Memory(context)
    list(memory.read(PROMPT))
    sampler = Sampler(context, GenerateOptions(repeat_penalty=1.3), 1)
    constraint = Constraint(Vocabulary(model), r"root ::= [\x00-\U0010FFFF]*")
    same = 0
    for token in anything.ids:
        context.logits()[RESET] = -np.inf
        chosen = sampler.sample()
        if not constraint.allows(chosen):
            break  # half a character that could not be completed, or a control token
        assert chosen == token
        constraint.accept(token)
        memory.step(token)
        same += 1
    assert same > 0


def test_a_token_that_does_not_fit_is_an_error_and_no_abort(model) -> None:
    vocabulary = Vocabulary(model)
    constraint = Constraint(vocabulary, 'root ::= "a"')
    (a,) = (token for token in range(vocabulary.size) if vocabulary.piece(token) == b"a" and token > 258)
    for token in (RESET, END, a + 1):
        assert not constraint.allows(token)
        with pytest.raises(TakebackError, match="does not fit"):
            constraint.accept(token)
    constraint.accept(a)
    assert constraint.allows(END) and not constraint.allows(a)
    constraint.restart()
    assert constraint.allows(a) and not constraint.allows(END)
    constraint.close()
    constraint.close()


def test_a_prefilled_beginning_counts(model) -> None:
    a = 3 + ord("a")
    assert write(model, 'root ::= "aab"', prefill=[a, a]).text == "aab"
    with pytest.raises(TakebackError, match="beginning does not fit"):
        write(model, 'root ::= "b"', prefill=[a])
    # It is taken back with the draft, and then the grammar asks for all of it.
    assert write(model, 'root ::= "aab"', prefill=[a, a], at=(0,)).text == "aab"


@pytest.mark.parametrize(
    ("grammar", "says"),
    [
        ('root ::= "a', "unexpected end of input"),
        ('x ::= "a"', "no rule named root"),
        ("root ::= other", "other"),
        ('root ::= root "a"', "left recursion"),
        (f"root ::= {'(' * 100_000}", "nested too deeply"),
        pytest.param(
            'root ::= "q" a\na ::= b a "x" | "y"\nb ::= c\nc ::= ""',
            "begins with itself",
            marks=pytest.mark.slow,  # it fills all the memory that it is allowed
        ),
        ('root ::= "a"{100000}', "repetitions"),
        ("root ::= " + " " * 300_000, "longer than"),
    ],
    ids=["open", "no root", "undefined", "left", "deep", "hidden left", "repeated", "long"],
)
def test_a_bad_grammar_is_one_line(grammar, says) -> None:
    for _ in range(1 + (len(grammar) < 20)):  # what is bad is not known as good the next time
        with pytest.raises(TakebackError, match=says) as raised:
            check_grammar(grammar)
        assert "\n" not in str(raised.value) and len(str(raised.value)) < 250


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ('{"type":', "Expecting value"),
        ('{"$ref": "https://example.org/schema"}', "remote"),
        ('{"type": "nonsense"}', "nonsense"),
        ("[" * 100_000, "recursion"),
    ],
    ids=["cut", "remote", "unknown", "deep"],
)
def test_a_bad_schema_is_one_line_that_names_the_file(tmp_path, schema, says) -> None:
    file = tmp_path / "schema.json"
    file.write_text(schema)
    with pytest.raises(TakebackError, match=rf"schema\.json: no usable JSON schema: .*{says}"):
        read_grammar_file(file, schema=True)


def test_files_that_are_no_text(tmp_path) -> None:
    (tmp_path / "latin").write_bytes(b'root ::= "\xe9"')
    (tmp_path / "large").write_bytes(b" " * 300_000)
    for name, says in (("none", "cannot be read"), ("latin", "UTF-8"), ("large", "longer than")):
        with pytest.raises(TakebackError, match=f"{name}: .*{says}"):
            read_grammar_file(tmp_path / name)


def test_a_session_checks_and_follows(session) -> None:
    options = {"seed": 1, "temperature": 0.0, "max_tokens": 40}
    question = [Message("user", "Is the sea blue?")]
    done = list(
        session.generate(question, GenerateOptions(**options, grammar='root ::= " "? ("yes" | "no")'))
    )[-1]
    assert done.reason == "stop" and done.text.strip() in ("yes", "no")
    (failed,) = session.generate(question, GenerateOptions(**options, grammar="root ::= other"))
    assert isinstance(failed, Error) and "other" in failed.message


@pytest.mark.parametrize("more", [{}, {"xtc": 0.9, "top_k": 8}, {"mirostat": 1.5}])
def test_a_choice_that_the_grammar_refuses_leaves_nothing_in_the_samplers(model, more) -> None:
    """Neither in mirostat's aim nor in the random numbers: as if only what fits had been there."""
    vocabulary = Vocabulary(model)
    logits = np.full(model.n_vocab, -np.inf, np.float32)
    logits[ord("a") + 3 : ord("j") + 3] = np.linspace(1, 3, 9)
    logits[ord("0") + 3] = 30.0  # what the samplers choose, and the grammar does not let through
    samplers = []
    for refused in (True, False):
        context = Context(model, n_ctx=512, threads=1)
        list(Memory(context).read(PROMPT))
        options = replace(WARM, repeat_penalty=1.0, temperature=1.0, **more)
        sampler = Sampler(context, options, 1, Constraint(vocabulary, "root ::= [a-z]+"))
        for _ in range(20):
            context.logits()[:] = logits
            if not refused:
                context.logits()[ord("0") + 3] = -np.inf
            samplers.append(sampler.sample())
        sampler.close()
    assert samplers[:20] == samplers[20:] and len(set(samplers)) > 2
