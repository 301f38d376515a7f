"""`takeback evaluate --quantizations` on a small random model, through the real quantizer and the real engine."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from assistant.cli import main
from convert.errors import TakebackError
from evals import quantizations
from evals.heldout import read_heldout
from evals.quantizations import Measured, QuantizationPlan, variants
from evals.quantizations_report import as_markdown, compare
from tests.convert.small_model import write_checkpoint, write_record

ROWS = [
    *({"prompt": f"a model of {n}", "unsafe": f"the token {n} takes back", "safe": "no"} for n in range(3)),
    *({"prompt": f"what is {n}", "reply": f"in numbers {n * n}"} for n in range(4)),
    {"prompt": "what was said", "prefill": "Sure,", "reply": " the world"},
    {"messages": [{"role": "user", "content": "and"}], "prefill": "it", "unsafe": " was said", "safe": "no"},
]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    write_checkpoint(folder)
    write_record(folder, reset_bias=1.5)
    return folder


@pytest.fixture
def heldout(tmp_path):
    path = tmp_path / "heldout.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def _command(source, heldout, *words):
    given = (
        "--quantizations",
        "q8_0,q4_k_m",
        "--heldout",
        heldout,
        "--out",
        heldout.parent / "out",
        "--threads",
        1,
    )
    return main(["evaluate", str(source), *map(str, (*given, *words))])


def test_each_type_is_measured_once_with_and_without_protected_rows(source, heldout, capsys, monkeypatch):
    monkeypatch.setattr(quantizations, "_SPEED_TOKENS", 4)
    assert _command(source, heldout, "--budget", 0.25, "--plot") == 0
    out = heldout.parent / "out"
    text = capsys.readouterr().out
    assert (out / "quantizations.md").read_text() == text
    files = json.loads((out / "quantizations.json").read_text())["files"]
    assert [file["file"] for file in files] == ["source", "q8_0", "q4_k_m", "q4_k_m, unprotected"]
    whole, eight, four, bare = files
    assert whole["bytes"] > eight["bytes"] > four["bytes"] > bare["bytes"]
    assert whole["margin_distance"] == whole["reset_divergence"] == 0
    assert 0 < eight["margin_distance"] < four["margin_distance"]
    for file in files:
        assert file["source_bias"]["bias"] == 1.5
        assert file["source_bias"]["unsafe"]["total"] == 4
        assert file["new_bias"]["benign"] == whole["new_bias"]["benign"] | {"count": 1, "total": 4}
        assert file["reset_log_probability"] < 0 < file["perplexity"]
        assert file["written_tokens_per_s"] > 0
    assert "4 unsafe drafts and 4 harmless replies" in text
    assert "At a bias chosen again for at most 25.0%" in text
    picture = (out / "quantizations.svg").read_text()
    assert picture.count('class="bar"') == 5 * len(files)
    assert not [path for path in out.iterdir() if path.name.startswith(".converted")]

    monkeypatch.setattr(quantizations, "convert", lambda *_, **__: pytest.fail("it was converted again"))
    assert _command(source, heldout, "--budget", 0.25) == 0
    assert capsys.readouterr().out == text


def test_a_run_that_was_ended_goes_on_behind_the_last_type(source, heldout, monkeypatch):
    monkeypatch.setattr(quantizations, "_SPEED_TOKENS", 4)
    out = heldout.parent / "out"
    plan = QuantizationPlan(source, ("q8_0",), heldout, out, limit=1, threads=1)
    really, made = quantizations.convert, []

    def ended(given, file, **options):
        made.append(file.name)
        if options["type"] == "q8_0":
            file.write_bytes(b"half")
            raise KeyboardInterrupt
        return really(given, file, **options)

    monkeypatch.setattr(quantizations, "convert", ended)
    with pytest.raises(KeyboardInterrupt):
        quantizations.measure_quantizations(plan)
    (out / ".converted-killed").mkdir()  # as SIGKILL leaves one
    monkeypatch.setattr(quantizations, "convert", lambda *a, **o: made.append(a[1].name) or really(*a, **o))
    found = quantizations.measure_quantizations(plan)
    assert made == ["bf16.gguf", "q8_0.gguf", "q8_0.gguf"]
    assert [measured.name for measured in found] == ["source", "q8_0"]
    assert len(found[0].unsafe) == len(found[0].benign) == 1
    assert {path.name for path in out.iterdir()} == {".lock", "quantizations.jsonl"}


def test_a_file_is_its_own_source_and_margins_are_those_of_the_reset(source, heldout, tmp_path, monkeypatch):
    from assistant.engine.options import LoadOptions
    from assistant.engine.scoring import score
    from assistant.engine.session import Session
    from convert.convert import convert

    monkeypatch.setattr(quantizations, "_SPEED_TOKENS", 4)
    file = tmp_path / "f16.gguf"
    convert(source, file, type="f16")
    plan = QuantizationPlan(file, (), heldout, tmp_path / "out", threads=1)
    (found,) = quantizations.measure_quantizations(plan)
    row = read_heldout(heldout)[0]
    with Session.open(file, LoadOptions(threads=1)) as session:
        ids = session.template.content(row.reply, session.template.ids(row.messages))
        logs, margins = score(session, row.messages, ids)
    assert found.nbytes == file.stat().st_size
    assert np.allclose(found.unsafe[0], margins, atol=1e-3)
    assert len(found.unsafe[0]) == len(ids) + 1
    assert (
        found.resets[0] <= margins[-1] + 1e-3
    )  # the rest holds at least what the likeliest other token does
    assert len(logs) == len(ids)
    assert [rank == 1 for rank in found.ranks] == [row[-1] >= 0 for row in found.unsafe]
    with Session.open(file, LoadOptions(threads=1)) as session:
        logs, _ = score(session, row.messages, [*ids, session.info.contract.token_id])
    assert found.resets[0] == pytest.approx(float(logs[-1]), abs=1e-3)


def _measured(kind, unsafe, benign, *, protect=None, bias=0.0, resets=None):
    resets = resets or [-1.0] * len(unsafe)
    ranks = [1 if row[-1] >= 0 else 7 for row in unsafe]
    return Measured(
        kind, protect, 1 << 20, unsafe, benign, resets, ranks, -10.0, 10, 1.0, 1.0, bias=bias, calibrated=True
    )


def test_shares_are_counted_at_both_biases_and_drafts_are_paired():
    source = _measured(None, [[-9, 1.0], [-9, 0.5], [-9, -3.0]], [[-4.0], [-2.0]], bias=0.25)
    other = _measured("q2_k", [[-9, -0.5], [-9, 0.5], [-9, 0.1]], [[-4.0], [-1.0]], resets=[-1.0, -2.0, -1.0])
    first, second = compare([source, other], budget=0.0)
    assert (first.kept_bias.unsafe.count, first.kept_bias.benign.count) == (2, 0)
    assert (second.kept_bias.unsafe.count, second.kept_bias.lost, second.kept_bias.gained) == (2, 1, 1)
    assert second.new_bias.bias == pytest.approx(0.999)
    assert first.new_bias.bias == pytest.approx(1.999)
    assert (second.new_bias.unsafe.count, second.new_bias.lost, second.new_bias.gained) == (3, 0, 1)
    assert second.shift == pytest.approx((-1.5 + 3.1 + 1.0) / 8)
    assert second.distance == pytest.approx((1.5 + 3.1 + 1.0) / 8)
    p, q = math.exp(-1), math.exp(-2)
    expected = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert second.divergence == pytest.approx(expected / 3)
    assert (second.likeliest.count, second.rank) == (2, 1)
    assert first.perplexity == pytest.approx(math.e)
    plan = QuantizationPlan(Path("s.gguf"), ("q2_k",), Path("h.jsonl"), Path("out"))
    assert "| q2_k, unprotected | 0.250 | 2 / 3 |" in as_markdown([first, second], plan)


def test_a_reset_that_is_certain_has_a_finite_divergence():
    certain = _measured("q8_0", [[9.0]], [[-4.0]], resets=[0.0])
    (row,) = compare([certain], budget=0.0)
    assert row.divergence == 0


def test_only_types_whose_rows_protecting_changes_are_made_twice():
    assert variants(["q8_0", "q6_k", "q6_k", "bf16"]) == [
        ("q8_0", None),
        ("q6_k", "q8_0"),
        ("q6_k", None),
        ("bf16", None),
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("{", "line 1: not JSON"),
        ("[]", "line 1: a row is a JSON object"),
        ('\n{"prompt": "a"}', 'line 2: a row has "unsafe" or "reply"'),
        ('{"prompt": 1, "reply": "b"}', 'needs "prompt" or "messages"'),
        ('{"messages": [{"role": "user", "content": 1}], "reply": "b"}', '"content" must be text'),
        ('{"messages": [{"role": "boss", "content": "a"}], "reply": "b"}', "has the role 'boss'"),
        ('{"prompt": "a", "reply": "\\ud800"}', '"reply" must be text'),
        ('{"prompt": "a", "reply": "b"}', "needs unsafe drafts and harmless replies"),
    ],
)
def test_rows_that_are_none_are_one_line(tmp_path, lines, message):
    (tmp_path / "rows.jsonl").write_text(lines + "\n")
    with pytest.raises(TakebackError, match=message):
        read_heldout(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--quantizations", "q8_0"), "give their file with --heldout"),
        (("--heldout", "rows"), "--heldout belongs to --quantizations"),
        (
            ("--quantizations", "q8_0", "--heldout", "rows", "--labels-out", "x.csv"),
            "--labels-out does not go with it",
        ),
        (
            ("--quantizations", "q8_0", "--heldout", "rows", "--judge", "keywords"),
            "--judge does not go with it",
        ),
        (("--quantizations", "", "--heldout", "rows"), "no type ''"),
        (("--quantizations", "q8_0,q9", "--heldout", "rows"), "no type 'q9'; there is f32"),
        (("--quantizations", "iq1_s", "--heldout", "rows"), "needs measured importances"),
    ],
)
def test_wrong_arguments_are_bad_usage(tmp_path, capsys, words, message):
    assert main(["evaluate", "--out", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err


def test_an_ordinary_model_is_refused_and_another_reset_token_is_not_looked_for(tmp_path, heldout):
    write_checkpoint(tmp_path / "plain", reset=False)
    plan = QuantizationPlan(tmp_path / "plain", ("q8_0",), heldout, tmp_path / "out", threads=1)
    with pytest.raises(TakebackError, match="no reset token to measure"):
        quantizations.measure_quantizations(plan)
