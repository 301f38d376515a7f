"""Sampled prefixes and chat: which sequences an epoch holds. Needs the extra `train` for its tokenizer."""

import random

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from train.base import load_base
from train.encode import Encoder, epoch, mixed_in
from train.rows import load_rows
from train.settings import Shares
from train.trainable import add_reset_token

pytestmark = pytest.mark.slow


@pytest.fixture
def encoder(tiny_base):
    model, tokenizer = load_base(tiny_base)
    return Encoder(tokenizer, add_reset_token(model, tokenizer, "[RESET]"), 512)


def test_a_sampled_prefix_is_one_random_cut_with_the_reset_as_its_only_target(encoder, data):
    row = load_rows(data)[0]
    start, draft = len(encoder.prompt(row)), encoder.text(row.unsafe)
    sizes = set()
    for seed in range(200):
        example = encoder.cut(row, random.Random(seed))
        size = example.reset.index(1.0) + 1 - start
        assert example.ids[start : start + size] == draft[:size]
        assert (sum(example.reset), sum(example.forbid), sum(example.words)) == (1.0, 0.0, 0.0)
        sizes.add(size)
    assert sizes == set(range(1, len(draft) + 1))


def test_each_draft_is_cut_once_an_epoch_and_elsewhere_in_the_next(encoder, data):
    rows = load_rows(data)
    safety = sum(row.is_safety for row in rows)
    for keep in (0.0, 0.5, 1.0):
        shares = Shares(keep=keep, rewind=0.0, direct=0.0, needless=0.0)
        made = [list(epoch(rows, encoder, shares, seed, dense=False)) for seed in range(2)]
        cuts = [[example for example in one if sum(example.reset)] for one in made]
        assert [len(one) for one in cuts] == [safety, safety]
        assert all(sum(example.reset) == 1.0 for one in cuts for example in one)
        assert cuts[0] != cuts[1]
    assert {example.form for example in cuts[0]} == {"keep"}


def test_chat_is_its_share_of_an_epoch_and_every_row_has_its_turn(encoder, data):
    rows = [row for row in load_rows(data) if not row.is_safety]
    made = mixed_in(rows, encoder, 0.25, 300, 1)
    assert len(made) == 100
    assert made != mixed_in(rows, encoder, 0.25, 300, 2)
    assert len({example.ids for example in made[: len(rows)]}) == len({row.reply for row in rows})
    few = mixed_in(rows, encoder, 0.01, 300, 1)
    assert len(few) == 3


def test_words_of_chat_are_learnt_as_they_stand_and_the_reset_is_forbidden(encoder, data):
    rows = load_rows(data)
    plain, opened = encoder.chat(rows[2]), encoder.chat(rows[3])
    start = len(encoder.prompt(rows[2])) - 1
    assert plain.teacher is None
    assert plain.words[start:] == (1.0,) * len(encoder.reply(rows[2]))
    assert plain.words == plain.forbid
    assert sum(opened.forbid) - sum(opened.words) == len(encoder.text(rows[3].prefill))


def test_the_end_of_a_reply_is_the_templates_own(tiny_base, encoder):
    _, tokenizer = load_base(tiny_base)
    assert encoder.end == tokenizer.eos_token_id
    tokenizer.eos_token = "<|endoftext|>"
    assert Encoder(tokenizer, encoder.reset_id, 512).end == tokenizer.convert_tokens_to_ids("<|im_end|>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    assert Encoder(tokenizer, encoder.reset_id, 512).end == tokenizer.eos_token_id
