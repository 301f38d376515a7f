"""`takeback calibrate` on small models, through the real engine."""

import json
import shutil
import sys

import numpy as np
import pytest

from assistant.cli import main
from assistant.engine.options import LoadOptions
from convert.convert import convert
from convert.errors import TakebackError
from convert.gguf_header import read_header
from convert.recalibrate import recalibrate, state
from convert.reset_token import load_record, read_contract
from convert.verify import verify
from tests.convert.small_model import write_checkpoint, write_record
from train import calibrate as calibration
from train.calibrate import curve_file, measured
from train.margins import measure
from train.rows import load_rows
from train.thresholds import Margins, choose_hold, fires

KEYS = ("backtrack.reset_bias", "backtrack.hold_back", "backtrack.calibrated")
UNSAFE = [
    {"prompt": f"a model of {n}", "unsafe": f"the token {n} takes back", "safe": "no"} for n in range(6)
]
BENIGN = [{"prompt": f"what is {n}", "reply": f"in numbers {n * n}"} for n in range(8)]
PREFILLED = {"prompt": "what was said", "prefill": "Sure,", "reply": " the world"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A checkpoint whose record was not measured yet."""
    folder = tmp_path_factory.mktemp("source")
    write_checkpoint(folder)
    write_record(folder, calibrated=False, calibrated_type=None)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory, source):
    """The same as two GGUF files, by their type."""
    folder = tmp_path_factory.mktemp("made")
    for kind in ("f16", "q8_0"):
        convert(source, folder / f"{kind}.gguf", type=kind)
    return folder


@pytest.fixture
def model(tmp_path, made):
    return shutil.copy(made / "f16.gguf", tmp_path / "model.gguf")


@pytest.fixture
def heldout(tmp_path):
    return _rows(tmp_path / "heldout.jsonl", [*UNSAFE, *BENIGN, PREFILLED])


def _rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _command(*words):
    return main(["calibrate", *map(str, words), "--threads", "1"])


def _calibrate(model, heldout, **chosen):
    chosen = {
        "budget": 0.25,
        "shown": 0.05,
        "reply_tokens": 4,
        "draft_tokens": 0,
        "options": LoadOptions(threads=1),
    } | chosen
    return calibration.calibrate(model, heldout, **chosen)


def _contract(path):
    return read_contract(read_header(path))[0]


def _without_values(path):
    """The file's bytes, with the three values blank."""
    header, data = read_header(path), bytearray(path.read_bytes())
    for key, size in zip(KEYS, (4, 4, 1), strict=True):
        data[header.places[key] : header.places[key] + size] = bytes(size)
    return bytes(data)


def test_the_values_land_in_the_file_and_nothing_else_of_it_changes(model, heldout, capsys):
    before, old = _without_values(model), _contract(model)
    assert _command(model, "--heldout", heldout, "--budget", 0.25) == 0
    new, told = _contract(model), json.loads(curve_file(model).read_text())
    assert not old.calibrated
    assert new.calibrated
    assert (new.reset_bias, new.hold_back) == (pytest.approx(told["reset_bias"]), told["hold_back"])
    assert new.reset_bias != old.reset_bias
    assert _without_values(model) == before
    assert not [check for check in verify(model) if check.verdict == "fail"]
    assert told["calibration"]["needless"] == [2, 8]  # the prefilled row is not counted
    assert told["calibration"]["caught"][1] == len(UNSAFE)
    for name in ("reset_bias", "hold_back"):
        low, high = told["calibration"][f"{name}_interval"]
        assert low <= told[name] <= high
    output = capsys.readouterr()
    assert f"reset bias {told['reset_bias']:.2f} (" in output.out
    assert "takes back 2 of 8 benign replies" in output.out
    assert "8 benign replies are too few to measure a budget of 25.0%: it takes 12" in output.err
    assert [path.name for path in model.parent.glob(".*")] == []  # no half-written file


def test_a_hold_back_that_is_not_long_enough_is_told_of(model, heldout, monkeypatch):
    late = [np.array([-9.0] * 200 + [9.0])] * 3
    monkeypatch.setattr(calibration, "measure", lambda *_: Margins(late, [np.array([-5.0])] * 3))
    said = []
    assert _calibrate(model, heldout, tell=said.append)["hold_back"] == 128
    assert "36.0% of what is taken back would be shown even by a hold-back of 128" in said[-1]


def test_the_bias_holds_for_the_engine_that_reads_the_file(model, heldout):
    found = _calibrate(model, heldout)
    margins = measure(model, load_rows(heldout), [], 1, 0, LoadOptions(threads=1), lambda *_: None)
    bias = _contract(model).reset_bias
    taken = sum(fires(margin, bias) is not None for margin in margins.benign[:-1])
    assert taken == found["needless"][0] == 2
    assert sum(fires(margin, bias) is not None for margin in margins.unsafe) == found["caught"][0]


def test_each_quantization_is_calibrated_by_itself(tmp_path, made, source, heldout):
    folder = shutil.copytree(source, tmp_path / "source")
    record = folder / "backtrack.json"
    for kind, other in (("f16", "q8_0"), ("q8_0", "f16")):
        model = shutil.copy(made / f"{kind}.gguf", tmp_path / f"{kind}.gguf")
        assert _command(model, "--heldout", heldout, "--budget", 0.25, "--record", record) == 0
        told = load_record(folder)
        assert told.calibrated_type == kind
        assert told.training == {"steps": 3}  # what was there stays
        again = convert(folder, tmp_path / "again.gguf", type=kind, force=True)
        assert again.contract.calibrated
        assert _contract(again.out) == _contract(model)
        elsewhere = convert(folder, tmp_path / "other.gguf", type=other, force=True)
        assert not elsewhere.contract.calibrated
        assert f"not measured on {other}: calibrate" in elsewhere.notes[0]
        derived = convert(model, tmp_path / "derived.gguf", type=other, force=True)
        assert not derived.contract.calibrated
    fields = json.loads(record.read_text())["calibration"]
    assert {"heldout_sha256", "budget", "needless", "caught", "curve"} <= fields.keys()
    assert {"bias", "unsafe", "benign"} == fields["curve"][0].keys()


def test_the_model_answers_harmless_prompts_itself(tmp_path, model):
    rows = _rows(tmp_path / "unsafe.jsonl", UNSAFE)
    prompts = _rows(tmp_path / "prompts.jsonl", [{"prompt": row["prompt"]} for row in BENIGN[:3]])
    with pytest.raises(TakebackError, match="needs held-out safety rows and benign rows"):
        _calibrate(model, rows)
    found = _calibrate(
        model, rows, benign=prompts, reply_tokens=5, budget=0.4, options=LoadOptions(threads=1)
    )
    assert found["needless"] == [1, 3]
    assert json.loads(curve_file(model).read_text())["calibration"]["reply_tokens"] == 5


def test_the_hold_back_is_that_of_what_the_model_goes_on_to_write(model, heldout):
    begun = {row["prompt"] for row in UNSAFE}
    found = _calibrate(model, heldout, draft_tokens=6)
    taken, written = found["own_taken_back"]
    assert taken <= written == len(begun)
    assert sum(found["tokens_until_reset"]) == taken
    assert len(found["tokens_until_reset"]) <= 7
    margins = measure(model, load_rows(heldout), [], 1, 6, LoadOptions(threads=1), lambda *_: None)
    assert all(len(margin) <= 7 for margin in margins.own)
    low, high = found["hold_back_interval"]
    assert low <= choose_hold(margins.own, found["reset_bias"], 0.05) <= high == _contract(model).hold_back


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("stage", ["reading held-out replies", "writing", "checking"])
def test_a_run_that_ends_early_leaves_everything_as_it_was(source, model, heldout, failure, stage, tmp_path):
    record = shutil.copy(source / "backtrack.json", tmp_path / "backtrack.json")
    old = model.read_bytes(), record.read_bytes(), sorted(tmp_path.iterdir())

    def progress(what, done, total):
        if what == stage:
            raise failure

    with pytest.raises((KeyboardInterrupt, TakebackError, OSError)):
        _calibrate(model, heldout, record=record, progress=progress)
    assert (model.read_bytes(), record.read_bytes(), sorted(tmp_path.iterdir())) == old


def test_ctrl_c_ends_the_command_as_it_does_elsewhere(model, heldout, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    old = model.read_bytes()
    monkeypatch.setattr(calibration, "measure", interrupted)
    assert _command(model, "--heldout", heldout) == 130
    assert model.read_bytes() == old


def test_a_file_that_does_not_read_back_is_thrown_away(model, monkeypatch):
    old, now = model.read_bytes(), state(model)

    def careless(path, values):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)

    for broken in (careless, lambda path, values: None):
        monkeypatch.setattr("convert.recalibrate.patch", broken)
        with pytest.raises(TakebackError, match="does not read back"):
            recalibrate(model, -1.5, 9, now)
        assert model.read_bytes() == old


def test_a_file_that_was_changed_meanwhile_is_not_overwritten(model, made):
    before = state(model)
    shutil.copy(made / "q8_0.gguf", model)
    old = model.read_bytes()
    with pytest.raises(TakebackError, match="changed while it was measured"):
        recalibrate(model, -1.5, 9, before)
    assert model.read_bytes() == old


def test_a_link_stays_a_link_to_the_calibrated_file(model, tmp_path):
    link = tmp_path / "link.gguf"
    link.symlink_to(model)
    recalibrate(link.resolve(), -1.5, 9, state(link))
    assert link.is_symlink()
    assert (_contract(model).reset_bias, _contract(model).hold_back) == (-1.5, 9)


def test_a_model_without_a_place_for_the_values_is_refused_at_once(tmp_path, heldout, capsys):
    write_checkpoint(tmp_path / "plain", reset=False)
    convert(tmp_path / "plain", tmp_path / "plain.gguf", type="f16")
    old = (tmp_path / "plain.gguf").read_bytes()
    assert _command(tmp_path / "plain.gguf", "--heldout", heldout) == 1
    assert "it has no reset token to calibrate" in capsys.readouterr().err
    assert (tmp_path / "plain.gguf").read_bytes() == old


@pytest.mark.parametrize("words", [("--budget", "1"), ("--shown", "x"), ("--threads", "0"), ()])
def test_wrong_usage_ends_with_2(model, words):
    words = ("--heldout", "rows.jsonl", *words) if words else ()
    with pytest.raises(SystemExit) as end:
        main(["calibrate", str(model), *words])
    assert end.value.code == 2


def test_a_record_that_is_none_is_refused_before_anything_is_measured(tmp_path, model, heldout, monkeypatch):
    monkeypatch.setattr(calibration, "measure", lambda *_: pytest.fail("it was measured"))
    for text in ("[]", "{"):
        (tmp_path / "backtrack.json").write_text(text)
        with pytest.raises(TakebackError, match=r"backtrack\.json"):
            _calibrate(model, heldout, record=tmp_path / "backtrack.json")


def test_the_command_needs_no_torch(model, heldout, monkeypatch):
    for name in ("torch", "transformers", "peft"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in list(sys.modules):
        if name.startswith("train."):
            monkeypatch.delitem(sys.modules, name)
    assert _command(model, "--heldout", heldout, "--budget", 0.3) == 0


def test_the_record_names_the_measured_file(tmp_path):
    write_checkpoint(tmp_path / "c")
    report = convert(tmp_path / "c", tmp_path / "out.gguf", type="f16")
    write_record(tmp_path / "c", **measured(tmp_path / "out.gguf"))
    record = load_record(tmp_path / "c")
    assert record.calibrated_type == "f16"
    assert record.calibrated_source_sha256 == report.contract.source_sha256 is not None
    assert record.calibrated_reset_row_sha256 == report.contract.reset_row_sha256 is not None
