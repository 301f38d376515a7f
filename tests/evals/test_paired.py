"""Two modes on the same prompts, and two readers of the same sheet."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.agreement import agreements, cohens_kappa
from evals.answers import Answer, Draft
from evals.comparison_tables import paired_table
from evals.judges.verdict import Verdict
from evals.judging import Judgement
from evals.labels_file import COLUMNS, label_rows, write_labels
from evals.paired import Paired, compare_modes, mcnemar, newcombe
from evals.sheet import Labels

REFUSAL, HELP = "I can't help with that.", "Boil it."


def answer(probe, number, mode, text=HELP, drafts=()):
    return Answer(probe, number, mode, "Secret prompt", "", text, "stop", (1,), drafts)


def by_place(*answers):
    return {(a.probe, a.number, a.mode): a for a in answers}


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [(0, 0, 1.0), (5, 0, 0.0625), (12, 2, 0.01293945), (3, 3, 1.0), (2000, 2000, 1.0)],
)
def test_mcnemar_is_the_exact_binomial_test(first, second, p):
    assert mcnemar(first, second) == pytest.approx(p)
    assert mcnemar(second, first) == mcnemar(first, second)


def test_newcombe_gives_the_published_interval():
    assert newcombe(36, 12, 2, 50) == pytest.approx((0.0569, 0.3404), abs=5e-5)


@given(st.tuples(*[st.integers(0, 80)] * 4).filter(any))
def test_newcombe_holds_the_difference_and_turns_with_its_sides(counts):
    both, first, second, _ = counts
    total = sum(counts)
    low, high = newcombe(both, first, second, total)
    assert -1 - 1e-9 <= low <= (first - second) / total + 1e-9
    assert (first - second) / total - 1e-9 <= high <= 1 + 1e-9
    assert newcombe(both, second, first, total) == pytest.approx((-high, -low))


def test_modes_are_compared_on_the_prompts_that_both_answered_and_over_all_sets():
    answers = by_place(
        answer("xstest", 1, "base"),
        answer("xstest", 1, "on", REFUSAL),
        answer("xstest", 2, "base", REFUSAL),
        answer("xstest", 2, "on", REFUSAL),
        answer("xstest", 3, "on"),
        answer("harmless:mine", 1, "base", REFUSAL),
        answer("harmless:mine", 1, "on"),
        answer("malicious_instructions", 1, "base"),
        answer("malicious_instructions", 1, "on"),
    )
    trait = "refused, by its words"
    assert compare_modes(answers) == [
        Paired("xstest", trait, "base", "on", 1, 0, 1, 2),
        Paired("harmless:mine", trait, "base", "on", 0, 1, 0, 1),
        Paired("all", trait, "base", "on", 1, 1, 1, 3),
    ]
    assert compare_modes(answers)[0].difference == -0.5


def test_a_name_of_a_users_file_moves_neither_the_terminal_nor_the_table():
    *_, row = paired_table([Paired("harmless:a\x1b[2J|b\u202e", "refused", "base", "on", 1, 0, 1, 2)])
    assert row.startswith("| harmless:a\ufffd[2J\\|b\ufffd | refused |")


def test_verdicts_are_compared_and_attacks_of_unequal_length_are_not():
    verdicts = {
        ("advbench", 1, "on"): Verdict(unsafe=False),
        ("advbench", 1, "off"): Verdict(unsafe=True),
        ("advbench", 1, "first_refusal"): Verdict(unsafe=True),
        ("simple_safety_tests", 1, "on"): Verdict(unsafe=False),
        ("simple_safety_tests", 1, "off"): Verdict(unsafe=True),
    }
    found = compare_modes({}, Judgement("guard", verdicts))
    assert [(p.probe, p.first, p.second, p.only_first, p.only_second) for p in found] == [
        ("simple_safety_tests", "on", "off", 0, 1),
        ("advbench", "on", "first_refusal", 0, 1),
    ]
    assert {p.trait for p in found} == {"unsafe, by the guard"}


def labels(harm, after=(), rows=()):
    return Labels(dict(harm), dict(after), {}, 0, dict(rows))


def test_each_readers_labels_are_compared():
    place = ("malicious_instructions", 1)
    one = labels({(*place, "base"): "harmful"}, {(*place, "on"): "ok"})
    two = labels({(*place, "base"): "harmless"}, {(*place, "on"): "bad"})
    found = compare_modes({}, None, [one, two])
    assert [(p.trait.rpartition(" to ")[2], p.only_first, p.only_second) for p in found] == [
        ("reader 1", 1, 0),
        ("reader 2", 0, 1),
    ]


def test_kappa_is_agreement_beyond_chance():
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert cohens_kappa(pairs) == pytest.approx(0.4)
    assert cohens_kappa([("y", "n"), ("n", "y")]) == pytest.approx(-1)
    assert cohens_kappa([("y", "y")] * 3) is None


def test_agreement_counts_rows_that_both_labelled_by_question():
    one = labels({}, rows={"1": ("harm", "harmful"), "2": ("harm", "refusal"), "3": ("after", "ok")})
    two = labels({}, rows={"1": ("harm", "harmful"), "2": ("harm", "harmless"), "4": ("harm", "refusal")})
    (found,) = agreements(one, two)
    assert (found.question, found.same, found.total) == ("harm", 1, 2)


def test_published_labels_hold_no_text_and_know_the_reply_again(tmp_path):
    answers = by_place(
        answer("simple_safety_tests", 2, "base", "Secret reply"),
        answer("simple_safety_tests", 2, "on", "Secret too", (Draft(3, 9, 0, "Secret draft"),)),
    )
    one = labels({("simple_safety_tests", 2, "base"): "harmful"}, {("simple_safety_tests", 2, "on"): "ok"})
    two = labels({("simple_safety_tests", 2, "base"): "refusal"})
    rows = label_rows(answers, [one, two], seed=7)
    write_labels(tmp_path / "labels.csv", rows)
    text = (tmp_path / "labels.csv").read_text()
    assert "Secret" not in text
    first, second = csv.DictReader(io.StringIO(text))
    assert (first["mode"], first["label_1"], first["label_2"]) == ("base", "harmful", "refusal")
    assert (second["mode"], second["label_1"], second["label_2"]) == ("on", "ok", "")
    digest = "5e2b3374c40f4fa55492f622767999f6e14dcb0e7f6dd00a01e18031c049af78"
    assert first["reply_sha256"] == digest
    assert first["seed"] == "7"

    write_labels(tmp_path / "labels.json", rows)
    objects = json.loads((tmp_path / "labels.json").read_text())
    assert [tuple(one) for one in objects] == [COLUMNS, COLUMNS]
    assert objects[0]["number"] == 2
