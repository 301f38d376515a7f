from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.filters import Neighbours, draft_reason, keep
from train.prompts import Prompt
from train.refusals import (
    ATTEMPTS,
    BEGINNINGS,
    is_begun,
    plain_refusal,
    wanted_refusals,
    with_own_refusals,
)
from train.text import likeness, triples

texts = st.lists(st.sampled_from("abcd"), min_size=0, max_size=9).map(" ".join)


@settings(deadline=None, max_examples=300)
@given(known=st.lists(texts, max_size=12), text=texts, share=st.sampled_from([0.5, 0.7, 0.9, 1.0]))
def test_the_index_finds_what_a_look_at_all_finds(known, text, share):
    grams = triples(text)
    counts = Counter(gram for other in known for gram in triples(other))
    found = Neighbours(share, map(triples, known), counts).near(grams)
    assert found == any(likeness(grams, triples(other)) >= share for other in known)


def prompts(*texts, kind="benign", source="--prompts f"):
    return [(source, Prompt(text, kind, source)) for text in texts]


def kept(given, **more):
    plain = {"banned": [], "others": [], "lengths": (3, 100), "limit": None}
    return keep(given, **(plain | more))


def test_each_reason_is_counted_by_its_source():
    given = [
        *prompts("How is bread made at home", "HOW is  bread made at home", "x", "y" * 101),
        ("--hh g", "without a label"),
        *prompts("How is bread made at home now", "Who rowed over the wide lake", source="--hh g"),
    ]
    found, fate = kept(given, banned=["who rowed over the wide lake"])
    assert [prompt.text for prompt in found] == ["How is bread made at home"]
    assert dict(fate) == {
        ("--prompts f", "double"): 1, ("--prompts f", "too short"): 1, ("--prompts f", "too long"): 1,
        ("--hh g", "without a label"): 1, ("--hh g", "near another prompt"): 1,
        ("--hh g", "near an evaluation prompt"): 1, ("--prompts f", "kept"): 1,
    }  # fmt: skip


def test_doubles_of_prompts_that_are_used_already_are_dropped():
    others = [Prompt("How is bread made", "lookalike", "own")]
    assert kept(prompts("how is bread made", "Is it late"), others=others)[0] == [
        Prompt("Is it late", "benign", "--prompts f")
    ]


def test_a_limit_is_of_each_source_and_stable():
    words = [f"{n} word {n * n} and {n + 1}" for n in range(50)]
    given = [*prompts(*words[:40]), *prompts(*words[40:], source="--hh g")]
    found, fate = kept(given, limit=7)
    assert [p.source for p in found] == ["--prompts f"] * 7 + ["--hh g"] * 7
    assert fate["--prompts f", "beyond the limit"] == 33
    assert kept(list(reversed(given)), limit=7)[0] == found[::-1]


@pytest.mark.parametrize(
    ("opening", "said", "reason"),
    [
        ("Sure,", " first take the key and then open the door.", "unsafe"),
        ("", "First take the key and then open the door.", "unread"),
        ("Sure,", " take it.", "too short"),
        ("Sure,", " but I can’t help with anything like that.", "refuses by its words"),
    ],
)
def test_an_unread_draft_is_judged_by_its_words_and_its_opening(opening, said, reason):
    assert draft_reason({"text": opening + said, "opening": opening}) == reason


SORRY = "I'm sorry, I can't help with breaking into a house."


@pytest.mark.parametrize(
    ("text", "opening", "finished", "refusal"),
    [
        (SORRY, "", True, SORRY),
        ("I’m sorry, but I can’t help with that.", "", True, "I’m sorry, but I can’t help with that."),
        ("I'm sorry, I can't help with", "", False, ""),
        ("I'm sorry, I can't help, but I can tell you what to look for.", "", True, ""),
        ("I'm sorry, that is wrong. Here's what you need:\n1. A rope", "", True, ""),
        ("First, take a rope.", "", True, ""),
        ("I cannot help with that. " * 20, "", True, ""),
        (SORRY + " First, take a rope and", "I'm sorry,", False, SORRY),
        ("I can't help you today, but you should take a rope.", "I can't help you", True, ""),
        ("I won't help with\na rope.", "I won't help", True, ""),
        ("I can't help you with a rope for the", "I can't help you", True, ""),
    ],
)
def test_a_refusal_is_plain_or_it_is_none(text, opening, finished, refusal):
    assert plain_refusal({"text": text, "opening": opening, "finished": finished}) == refusal


def test_the_first_plain_refusal_becomes_the_safe_reply_of_a_prompt_without_one():
    given = [
        Prompt(f"Harm number {n}", "harmful", "--prompts f", safe="Written." * (n == 0)) for n in range(40)
    ]
    given = [*[p for p in given if not p.for_evaluation][:4], Prompt("Tea", "benign", "--prompts f")]
    said = {
        "sampled": ["Sure!", "I can't do that.", "Sure!"],
        "greedy": ["I won't.", "I won't.", "Yes."],
        "begun": ["Never.", "Never.", " and no"],
    }
    lines = [
        {
            "key": item.key,
            "system": item.system,
            "opening": item.opening,
            "text": item.opening + text,
            "finished": True,
        }
        for attempt in ATTEMPTS
        for item, text in zip(wanted_refusals(given, attempt), said[attempt], strict=True)
    ]
    assert [p.safe for p in with_own_refusals(given, lines)] == [
        "Written.",
        "I won't.",
        "I can't do that.",
        "",
        "",
    ]
    lines[-1]["text"] += " more. And then"
    begun = with_own_refusals(given, lines)[3].safe
    assert begun.endswith(" and no more.")
    assert is_begun(begun)


def test_every_beginning_is_a_refusal_and_no_sign_of_help():
    for words in BEGINNINGS:
        assert (
            plain_refusal({"text": f"{words} this.", "opening": words, "finished": False}) == f"{words} this."
        )
