import gzip
import json

import pytest

from convert.errors import TakebackError
from train.openings import GENERAL, opening, restated
from train.prompts import Prompt, collect, corpus_lines, corpus_table
from train.text import digest, likeness, triples

HARMFUL = "How do I pick the lock of my neighbour?"
LOOKALIKE = "How do I pick a good melon at the market?"


@pytest.fixture
def sets(tmp_path, monkeypatch):
    folder = tmp_path / "sets"
    folder.mkdir()
    turns = [HARMFUL, "A turn that nobody has labelled", LOOKALIKE, LOOKALIKE]
    with gzip.open(folder / "hh_harmless_base_test.jsonl.gz", "wt") as file:
        for turn in turns:
            file.write(json.dumps({"chosen": f"\n\nHuman: {turn}\n\nAssistant: Hm.", "rejected": ""}) + "\n")
    labels = {digest(HARMFUL): "harmful", digest(LOOKALIKE): "benign"}
    monkeypatch.setattr("train.prompts.corpus_table", lambda name: labels)
    task = {"instruction": "Sort these words.", "instances": [{"input": "b a", "output": "a b"}]}
    for name in ("alpaca_seed_tasks.jsonl", "self_instruct_user_tasks.jsonl"):
        (folder / name).write_text(json.dumps(task) + "\n")
    return folder


def test_labels_decide_the_kind_and_doubles_are_dropped(sets):
    found = [prompt for prompt in collect(sets) if prompt.source not in ("own", "calibration")]
    assert [(prompt.text.split()[-1], prompt.kind) for prompt in found] == [
        ("neighbour?", "harmful"),
        ("market?", "lookalike"),
        ("a", "benign"),
    ]


def test_what_is_near_an_evaluation_prompt_is_left_out(sets, tmp_path):
    exclude = tmp_path / "eval.csv"
    exclude.write_text("goal,target\nhow do i pick the lock of my neighbour,Sure\n")
    assert all("neighbour?" not in prompt.text for prompt in collect(sets, [exclude]))


def test_missing_sets_are_one_clear_line(tmp_path):
    with pytest.raises(TakebackError, match="--sets names the folder"):
        collect(tmp_path)


def test_every_labelled_prompt_counts_once():
    labels = corpus_table("prompt_labels.csv")
    assert len(labels) > 2000
    assert set(labels.values()) == {"harmful", "benign", "ambiguous"}


def test_held_out_is_a_tenth_and_a_matter_of_the_text_alone():
    prompts = [Prompt(f"prompt number {n}", "benign", "x") for n in range(4000)]
    share = sum(prompt.held_out for prompt in prompts) / len(prompts)
    assert 0.08 < share < 0.12
    assert Prompt("a", "benign", "x").held_out == Prompt("a", "harmful", "y").held_out


def test_half_of_what_is_held_out_is_for_evaluation_alone():
    prompts = [Prompt(f"prompt number {n}", "benign", "x") for n in range(8000)]
    kept = [prompt for prompt in prompts if prompt.for_evaluation]
    assert all(prompt.held_out for prompt in kept)
    share = len(kept) / sum(prompt.held_out for prompt in prompts)
    assert 0.4 < share < 0.6


def test_what_was_written_for_calibration_is_held_out_and_never_evaluated_on():
    prompts = [
        Prompt(line["prompt"], line["kind"], "calibration") for line in corpus_lines("calibration.jsonl")
    ]
    assert len(prompts) > 150
    assert all(prompt.held_out and not prompt.for_evaluation for prompt in prompts)


def test_safe_replies_refuse_in_a_sentence_of_its_own():
    """A small model parrots "..., but I can tell you how to ..." and then does."""
    replies = [
        line["safe"] for name in ("safe_replies.jsonl", "requests.jsonl") for line in corpus_lines(name)
    ]
    assert len(set(replies)) == len(replies) > 1200
    assert not [text for text in replies if ", but" in text.split(". ")[0] or "how to" in text]


def test_restated_openings_are_there_for_harmful_and_harmless_prompts():
    harmful = {line["prompt_digest"] for line in corpus_lines("safe_replies.jsonl")}
    openings = restated()
    shared = harmful & openings.keys()
    assert len(shared) > 900
    assert len(openings.keys() - harmful) > 400
    assert all(text.strip() for text in openings.values())


def test_openings_are_stable_and_sometimes_name_the_subject():
    prompts = [Prompt(f"How do I tie knot number {n}?", "benign", "x") for n in range(40)]
    openings = [opening(prompt) for prompt in prompts]
    assert openings == [opening(prompt) for prompt in prompts]
    named = [text for text in openings if "tie knot number" in text]
    assert named
    assert all(text in GENERAL for text in openings if text not in named)


def test_likeness_is_that_of_shared_triples():
    one, other = triples("how to bake good bread at home"), triples("How to bake good bread!")
    assert likeness(one, one) == 1.0
    assert likeness(one, other) == pytest.approx(3 / 5)
    assert likeness(one, triples("nothing alike in here")) == 0.0
    assert digest("ab", "c") != digest("a", "bc")


def test_the_corpus_is_whole():
    requests, lookalikes = corpus_lines("requests.jsonl"), corpus_lines("lookalikes.jsonl")
    safe = corpus_lines("safe_replies.jsonl")
    assert len(requests) > 200
    assert len(lookalikes) > 400
    assert len(safe) > 800
    assert all(line["prompt"].strip() and line["safe"].strip() and line["opening"] for line in requests)
    texts = [line["safe"] for line in (*safe, *requests)]
    assert len(set(texts)) == len(texts)
    openings = [" ".join(text.split()[:3]) for text in texts]
    assert max(openings.count(start) for start in set(openings)) < len(texts) / 8
