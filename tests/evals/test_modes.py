"""Who answers what: the modes, the user's own prompts, and samples at several temperatures."""

from xml.etree import ElementTree

import pytest

from assistant.usage import UsageError
from convert.errors import TakebackError
from evals.answers import Answer
from evals.cases import Case
from evals.curves import curve_measures, sample_cases
from evals.evaluate_choices import chosen_curve, chosen_modes, own_files
from evals.judges import keywords
from evals.measures import Measure
from evals.mode_measures import mode_measures, own_measures
from evals.modes import DEFAULT, in_modes
from evals.picture import as_svg
from evals.plan import Curve, Plan, own_cases
from evals.sets import Prompt, read_own

ON = Case("malicious_instructions", 1, "on", "Prompt", "", 120)
OFF = Case("malicious_instructions", 1, "off", "Prompt", "", 120)
BASE = Case("mt_bench", 1, "base", "Prompt", "", 128)
CONTROL = Case("helpful_opening", 1, "on", "Prompt", "Sure", 40)


def test_what_a_reply_is_known_by_has_not_changed():
    assert Case("advbench", 3, "on", "Do it", "Sure", 64).key("ab", 0) == "advbench/3/on/0fb398642d1c42d4"
    warm = Case("advbench", 3, "on", "Do it", "Sure", 64, temperature=0.7)
    assert warm.key("ab", 0) != Case("advbench", 3, "on", "Do it", "Sure", 64).key("ab", 0)


def test_the_usual_modes_are_asked_what_they_always_were():
    assert in_modes([ON, OFF, BASE, CONTROL], DEFAULT) == [ON, OFF, BASE, CONTROL]


def test_a_further_mode_is_asked_what_the_model_is_asked_but_the_controls():
    found = in_modes([ON, OFF, BASE, CONTROL], ("keep", "first_refusal"))
    assert [(case.probe, case.mode) for case in found] == [
        ("helpful_opening", "on"),
        ("malicious_instructions", "keep"),
        ("malicious_instructions", "first_refusal"),
    ]
    assert in_modes([BASE], ("on",), perplexity=True) == [BASE]
    assert in_modes([BASE], ("on",)) == []


def test_own_prompts_are_json_lines_or_csv_with_or_without_a_beginning(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "One", "prefill": "Sure,"}\n{"prompt": "Two"}\n')
    (tmp_path / "b.csv").write_text("goal,prefill\nOne,\nTwo,Sure\n")
    (tmp_path / "c.csv").write_text("goal,prompt\nx,One\n")
    assert read_own(tmp_path / "a.jsonl") == [Prompt(1, "One", "Sure,"), Prompt(2, "Two")]
    assert read_own(tmp_path / "b.csv") == [Prompt(1, "One"), Prompt(2, "Two", "Sure")]
    assert read_own(tmp_path / "c.csv", limit=1) == [Prompt(1, "One")]
    (tmp_path / "d.csv").write_text("text\nOne\n")
    with pytest.raises(TakebackError, match="no column 'prompt'; there is text"):
        read_own(tmp_path / "d.csv")
    (tmp_path / "e.jsonl").write_text('{"prompt": "One", "prefill": 3}\n')
    with pytest.raises(TakebackError, match='line 1: "prefill" must be text'):
        read_own(tmp_path / "e.jsonl")


def test_own_prompts_are_asked_like_those_of_their_kind(tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"prompt": "One", "prefill": "Sure,"}\n{"prompt": "Two"}\n')
    (tmp_path / "good.jsonl").write_text('{"prompt": "Three"}\n')
    own = own_files([f"mine={tmp_path / 'bad.jsonl'}"], [str(tmp_path / "good.jsonl")])
    plan = Plan(tmp_path, tmp_path, tmp_path, tmp_path, parts=(), own=own)
    assert [(c.probe, c.number, c.mode, c.prefill, c.max_tokens) for c in own_cases(plan)] == [
        *(("harmful:mine", 1, mode, "Sure,", 64) for mode in ("base", "on", "off")),
        *(("harmful:mine", 2, mode, "", 120) for mode in ("base", "on", "off")),
        *(("harmless:good", 1, mode, "", 128) for mode in ("base", "on")),
    ]


def test_two_files_of_one_name_are_bad_usage():
    with pytest.raises(UsageError, match="two files are called 'a'"):
        own_files(["x/a.csv", "y/a.csv"], [])


def answer(probe, mode, text, number=1, drafts=()):
    return Answer(probe, number, mode, "Prompt", "", text, "stop", (1,), drafts)


def test_further_modes_and_own_prompts_are_counted():
    answers = [
        answer("xstest", "first_refusal", "I can't help with that."),
        answer("harmless:mine", "on", "Yes"),
        answer("harmless:mine", "base", "I can't help with that."),
        answer("harmful:mine", "off", "Yes"),
    ]
    found = {(a.probe, a.number, a.mode): a for a in answers}
    assert {m.key: (m.count, m.total) for m in mode_measures(found)} == {
        "xstest_taken_back_first_refusal": (0, 1),
        "xstest_refused_first_refusal": (1, 1),
    }
    own = {m.key: (m.name, m.count) for m in own_measures(found)}
    assert own == {
        "harmless:mine_refused_base": ("mine: refused needlessly by the base model", 1),
        "harmless:mine_taken_back_on": ("mine: taken back needlessly by the model", 0),
        "harmless:mine_refused_on": ("mine: refused needlessly by the model", 0),
        "harmful:mine_refused_off": ("mine: refused by the model, resets off", 0),
    }


def test_one_bad_sample_of_k_counts():
    curve = Curve((0.0, 1.0), (1, 3))
    cases = sample_cases([ON, CONTROL, BASE], curve)
    assert cases[0] == ON  # at temperature 0: the reply that is there anyway
    assert [(case.temperature, case.sample) for case in cases[1:]] == [(1.0, 0), (1.0, 1), (1.0, 2)]
    assert len({case.key("ab", 0) for case in cases}) == 4
    texts = ["I can't help with that.", "I can't help with that.", "I can't help with that.", "Sure!"]
    answers = [answer(ON.probe, "on", text) for text in texts]
    found = curve_measures(cases, answers, keywords.judge, curve, "not refused")
    assert {m.key.partition("_on_")[2]: (m.count, m.total) for m in found} == {
        "t0_k1": (0, 1),
        "t1_k1": (0, 1),
        "t1_k3": (1, 1),
    }


def test_a_prompt_without_all_its_verdicts_is_left_out():
    curve = Curve((1.0,), (1, 2))
    cases = sample_cases([ON], curve)
    replies = [answer(ON.probe, "on", "x"), answer(ON.probe, "on", "y")]
    found = curve_measures(cases, replies, lambda _: [keywords.Verdict(unsafe=True), None], curve, "unsafe")
    assert [(m.count, m.total) for m in found] == [(1, 1), (0, 0)]


def test_what_is_asked_for_is_bounded():
    assert chosen_curve("temperature=1.0,0", "16,1,4") == Curve((1.0, 0.0), (1, 4, 16))
    assert chosen_curve(None, None) is None
    assert chosen_curve(None, "4") == Curve((0.7,), (4,))
    for curve, best in (("temperature=3", None), ("heat=1", None), (None, "65"), (None, "1.5"), (None, "x")):
        with pytest.raises(UsageError):
            chosen_curve(curve, best)


def test_modes_are_chosen_by_name_and_in_order():
    assert chosen_modes("keep, base") == ("base", "keep")
    assert chosen_modes(None) == DEFAULT
    with pytest.raises(UsageError, match="no mode 'of'; there is base, on, off, keep, first_refusal"):
        chosen_modes("on,of")


def test_the_picture_has_a_bar_and_an_interval_for_each_share():
    measures = [
        Measure("One <&>", "a", "harm & help", 1, 4),
        Measure("One <&>", "b", "none", 0, 0),
        Measure("Two", "c", "w" * 300, 5, 5),
    ]
    root = ElementTree.fromstring(as_svg(measures))
    kinds = [element.get("class") for element in root.iter()]
    assert kinds.count("bar") == kinds.count("interval") == 3
    assert kinds.count("title") == 2
    bars = [element for element in root.iter() if element.get("class") == "bar"]
    assert [float(bar.get("width")) for bar in bars] == [90, 0, 360]
    texts = [element.text for element in root.iter() if element.text]
    assert "harm & help" in texts
    assert "1 / 4" in texts
