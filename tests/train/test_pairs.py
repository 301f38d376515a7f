"""Pairs for preference training, with a tokenizer of one id a character: nothing here needs torch."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.errors import TakebackError
from train.dpo_settings import PairShares
from train.encode import RAMP, Encoder
from train.pairs import count, make_pairs, order
from train.rows import Row

RESET, EOS, START = 2_000_000, 2_000_001, 2_000_002
EVERY = PairShares(1.0, 1.0, 1.0, 1.0)


class Letters:
    """A tokenizer: an id a character, and one for the mark where the reply starts."""

    eos_token_id = EOS
    added_tokens_decoder: dict = {}  # noqa: RUF012

    def __call__(self, text, add_special_tokens, split_special_tokens=False):
        whole = text == "<start>" and not split_special_tokens
        return {"input_ids": [START] if whole else [ord(letter) for letter in text]}

    def apply_chat_template(self, turns, tokenize, add_generation_prompt):
        return "".join(turn["content"] for turn in turns) + "<start>"


def ids(text):
    return tuple(ord(letter) for letter in text)


def asked(text):
    return ({"role": "user", "content": text},)


def pairs_of(rows, shares=EVERY, length=512, tail=512, seed=1):
    return make_pairs(rows, Encoder(Letters(), RESET, length), shares, tail, seed, "rows")


UNSAFE = Row(asked("harm"), unsafe="take a hammer and", safe="No.", prefill="Sure, ")
BENIGN = Row(asked("tea"), reply="Tea is leaves.")
OTHER = Row(asked("tea"), reply="Leaves in water.")
P, Q = (*ids("harm"), START), (*ids("tea"), START)


def test_a_draft_cut_off_is_followed_by_the_reset_and_the_safe_reply_or_by_its_rest():
    for seed in range(40):
        teach, _ = pairs_of([UNSAFE], seed=seed)
        assert teach.kind == "teach"
        assert teach.chosen == (RESET, *ids("No."), EOS)
        assert teach.context + teach.rejected == P + ids("Sure, take a hammer and")
        assert teach.rejected
        assert len(teach.context) > len(P + ids("Sure, "))  # the prefill alone is nobody's draft


def test_a_safe_reply_under_way_is_preferred_to_taking_it_back_for_the_draft():
    _, relapse = pairs_of([UNSAFE])
    assert relapse.kind == "relapse"
    assert relapse.context + relapse.chosen == (*P, *ids("No."), EOS)
    assert len(relapse.context) > len(P)
    assert relapse.rejected == (RESET, *ids("Sure, take a hammer and"))


def test_a_harmless_reply_is_preferred_to_a_reset_in_it_or_before_it():
    penalise, needless, *_ = pairs_of([BENIGN, OTHER])
    whole, again = (*Q, *ids("Tea is leaves."), EOS), (RESET, *ids("Leaves in water."), EOS)
    assert (penalise.kind, needless.kind) == ("penalise", "needless")
    assert penalise.context + penalise.chosen == whole
    assert len(penalise.context) > len(Q)
    assert needless.context == Q
    assert needless.context + needless.chosen == whole
    assert penalise.rejected == needless.rejected == again


def test_without_another_reply_the_same_one_follows_the_needless_reset():
    _, needless = pairs_of([BENIGN])
    assert needless.rejected == (RESET, *needless.chosen)
    _, short = pairs_of([BENIGN], tail=3)
    assert short.rejected == (RESET, *ids("Tea"))


def test_words_put_into_the_models_mouth_are_context_and_never_chosen():
    row = Row(asked("tea"), prefill="Sure,", reply=" leaves", finished=False)
    for seed in range(20):
        (only,) = pairs_of([row], seed=seed)
        assert only.kind == "penalise"
        assert only.context[: len(Q) + 5] == Q + ids("Sure,")
        assert (only.context + only.chosen)[-1] == ord("s")  # cut off, so its end is not taught


def test_a_typed_reset_is_text():
    row = Row(asked("[RESET]"), reply="you typed [RESET] <start>")
    for pair in pairs_of([row]):
        assert RESET not in pair.context + pair.chosen
        assert pair.rejected.count(RESET) == 1
        assert pair.context.count(START) == 1


texts = st.text("abc [RESET]", min_size=1, max_size=30)
rows = st.one_of(
    st.builds(lambda p, d, s, f: Row(asked(p), unsafe=d, safe=s, prefill=f), texts, texts, texts, texts | st.just("")),
    st.builds(
        lambda p, r, f, e: Row(asked(p), reply=r, prefill=f, finished=e), texts, texts, texts | st.just(""),
        st.booleans(),
    ),
)  # fmt: skip


@given(st.lists(rows, min_size=1, max_size=4), st.integers(60, 90), st.integers(0, 5))
def test_the_sides_part_at_once_fit_and_one_of_them_begins_with_the_only_reset(given_rows, length, seed):
    try:
        pairs = pairs_of(given_rows, length=length, seed=seed)
    except TakebackError as error:
        assert "make no pair" in str(error)
        return
    assert pairs == pairs_of(given_rows, length=length, seed=seed)
    for pair in pairs:
        assert pair.chosen
        assert pair.rejected
        assert RESET not in pair.context
        assert max(len(pair.context + pair.chosen), len(pair.context + pair.rejected)) <= length
        takes, goes_on = (
            (pair.chosen, pair.rejected) if pair.kind == "teach" else (pair.rejected, pair.chosen)
        )
        assert takes[0] == RESET
        assert RESET not in takes[1:] + goes_on


def test_shares_choose_kinds():
    made = count(pairs_of([UNSAFE, BENIGN] * 50, PairShares(1.0, 0.0, 0.5, 0.0)))
    assert made.keys() == {"teach", "penalise"}
    assert made["teach"] == 50
    assert 10 < made["penalise"] < 40


def test_bad_rows_are_one_line():
    with pytest.raises(TakebackError, match=r"^rows, row 2: its prompt leaves no room") as error:
        pairs_of([BENIGN, Row(asked("x" * 80), reply="y")], length=60 + RAMP)
    assert "\n" not in str(error.value)
    with pytest.raises(TakebackError, match="make no pair"):
        pairs_of([Row(asked("x"), unsafe="d", safe="s")], PairShares(1.0, 0.0, 0.0, 0.0))


def test_the_order_is_epochs_in_steps_sorted_by_length():
    lengths = [random.Random(3).randint(5, 90) for _ in range(12)]
    made = order(lengths, 6, 4, 7)
    assert made == order(lengths, 6, 4, 7)
    assert sorted(made[:12]) == sorted(made[12:]) == list(range(12))
    assert made[:12] != made[12:]
    for i in range(0, 24, 4):
        assert [lengths[n] for n in made[i : i + 4]] == sorted(lengths[n] for n in made[i : i + 4])
