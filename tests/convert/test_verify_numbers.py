"""The third part of the proof: what a file computes. The comparison by itself, then against its source."""

import json
import shutil

import numpy as np
import pytest

from convert import verify_numbers
from convert.convert import convert
from convert.export import patch
from convert.gguf_header import read_header
from convert.verify import verify
from tests.convert.small_model import numbers, write_adapter
from tests.convert.test_verify import overwrite, tensor

RESET = 300


def checks_of(file, against, adapter=None):
    return {
        check.name: check for check in verify(file, against, adapter, numbers=True) if check.part == "numbers"
    }


@pytest.fixture(scope="module")
def quantized(tmp_path_factory, checkpoint):
    out = tmp_path_factory.mktemp("quantized") / "q.gguf"
    convert(checkpoint, out, type="q4_k_m")
    return out


def judged(theirs, ours, bits):
    found = verify_numbers._compare(theirs, ours, 2)
    return [check.verdict for check in verify_numbers._judged(found, bits, len(ours), "x")]


def test_the_comparison_is_exact_where_the_file_is():
    theirs = numbers(1, 5, 40, scale=2.0)
    assert judged(theirs, theirs, 32) == ["pass", "pass"]
    off = theirs.copy()
    off[3, 7] += 0.05
    assert judged(theirs, off, 32)[0] == "fail"
    assert judged(theirs, off, 16) == ["pass", "pass"]
    assert judged(theirs, np.full_like(theirs, np.nan), 2) == ["fail", "fail"]
    assert judged(theirs, numbers(2, 5, 40, scale=2.0), 16)[0] == "fail"
    assert judged(theirs, -theirs * 3, 4.5)[0] == "fail"


def test_the_reset_token_is_judged_by_itself():
    theirs = np.zeros((3, 40), np.float32)
    ours = theirs.copy()
    ours[:, 2] = -2.0
    found = verify_numbers._compare(theirs, ours, 2)
    assert found.reset[3:] == (1, 40)
    assert judged(theirs, ours, 16) == ["pass", "fail"] or judged(theirs, ours, 16) == ["fail", "fail"]
    assert found.divergence == pytest.approx(np.log((39 + np.exp(-2)) / 40) + 2 / 40)


def test_against_the_unquantized_file(quantized, converted):
    found = checks_of(quantized, converted)
    assert {name: check.verdict for name, check in found.items()} == {
        "logits": "pass",
        "reset token's logit": "pass",
    }
    assert "against llama.cpp" in found["logits"].detail
    assert "rank" in found["reset token's logit"].detail
    same = checks_of(converted, converted)
    assert "largest error 0 of" in same["logits"].detail


def test_a_wrong_tensor_shows_in_the_numbers(tmp_path, converted):
    bad = shutil.copy(converted, tmp_path / "bad.gguf")
    info = tensor(bad, "blk.0.attn_v.weight")
    overwrite(bad, info.offset, numbers(9, *info.shape).tobytes())
    assert checks_of(bad, converted)["logits"].verdict == "fail"


def test_a_missing_tool_is_skipped_with_how_to_get_it(converted, checkpoint, monkeypatch):
    monkeypatch.setattr(verify_numbers, "missing_packages", lambda **_: ["torch", "transformers"])
    (check,) = checks_of(converted, checkpoint).values()
    assert (check.verdict, check.name) == ("skipped", "logits")
    assert "torch and transformers: pip install 'takeback[train]'" in check.detail


def test_too_little_memory_is_skipped(converted, checkpoint, monkeypatch):
    monkeypatch.setattr(verify_numbers, "missing_packages", lambda **_: [])
    monkeypatch.setattr(verify_numbers, "_free_memory", lambda: 1000)
    (check,) = checks_of(converted, checkpoint).values()
    assert (check.verdict, "of free memory" in check.detail) == ("skipped", True)


def test_a_gguf_with_an_adapter_is_skipped(converted, adapter):
    (check,) = verify_numbers.check_numbers(converted, read_header(converted), converted, adapter, RESET)
    assert check.verdict == "skipped"
    assert "the checkpoint's folder" in check.detail


def test_the_command_prints_all_three_parts(quantized, converted, tmp_path, capsys):
    from assistant.cli import main

    assert main(["verify", str(quantized), "--against", str(converted)]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert {row.split()[1] for row in rows[:-1]} == {"structure", "tokenizer", "numbers"}
    assert all(row[16] == " " != row[17] for row in rows[:-1])
    bad = shutil.copy(quantized, tmp_path / "bad.gguf")
    patch(bad, {"backtrack.reset_token_id": 299})
    assert main(["verify", str(bad), "--against", str(converted), "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["failed"] >= 1
    assert {check["part"] for check in printed["checks"]} == {"structure", "tokenizer", "numbers"}


@pytest.mark.slow
@pytest.mark.parametrize("file_type", ["f32", "bf16", "q4_k_m"])
def test_against_transformers(tmp_path, checkpoint, file_type):
    pytest.importorskip("torch")
    convert(checkpoint, tmp_path / "m.gguf", type=file_type)
    found = checks_of(tmp_path / "m.gguf", checkpoint)
    assert {check.verdict for check in found.values()} == {"pass"}, found
    assert "against transformers" in found["logits"].detail


@pytest.mark.slow
def test_against_transformers_with_an_adapter(tmp_path, plain_base):
    pytest.importorskip("peft")
    write_adapter(tmp_path / "a", 300, untied=True, config={"target_modules": "all-linear"})
    convert(plain_base, tmp_path / "m.gguf", adapter=tmp_path / "a", type="f32")
    found = checks_of(tmp_path / "m.gguf", plain_base, tmp_path / "a")
    assert {check.verdict for check in found.values()} == {"pass"}, found
    assert len(found) == 2
