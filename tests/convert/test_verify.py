"""Faults made on purpose: each must be found, and called by its name."""

import shutil

import numpy as np
import pytest

from convert.convert import convert
from convert.export import patch
from convert.gguf_header import TypedValue, ValueType, read_header
from convert.reset_token import END_KEYS
from convert.verify import verify
from tests.convert.rewritten import rewritten
from tests.convert.small_model import write_checkpoint
from tests.convert.test_convert import in_llama_order


@pytest.fixture
def copy(tmp_path, converted):
    return shutil.copy(converted, tmp_path / "copy.gguf")


def failed(file, against=None):
    return {check.name: check.detail for check in verify(file, against) if check.verdict == "fail"}


def tensor(file, name):
    return next(info for info in read_header(file).tensors if info.name == name)


def overwrite(file, offset, raw):
    with file.open("rb+") as opened:
        opened.seek(offset)
        opened.write(raw)


def with_last(file, key, token_id, value):
    """Set one entry of an array of int32 in place."""
    header = read_header(file)
    overwrite(file, header.places[key] + 8 + 4 * token_id, np.int32(value).tobytes())


def test_a_sound_file_passes(copy, checkpoint):
    assert failed(copy, checkpoint) == {}
    names = [check.name for check in verify(copy, checkpoint)]
    assert {"file", "contract", "reset row", "tensors", "tokenizer", "q and k row order"} <= set(names)


def test_a_truncated_file(copy):
    with copy.open("rb+") as file:
        file.truncate(copy.stat().st_size - 5000)
    assert "cut off" in failed(copy)["file"]


def test_q_and_k_not_permuted(copy, checkpoint):
    info = tensor(copy, "blk.1.attn_q.weight")
    from tests.convert.test_convert import values

    theirs = values(checkpoint)["model.layers.1.self_attn.q_proj.weight"]
    assert not np.array_equal(theirs, in_llama_order(theirs))
    overwrite(copy, info.offset, theirs.tobytes())
    found = failed(copy, checkpoint)
    assert list(found) == ["q and k row order"]
    assert "checkpoint's order" in found["q and k row order"]


def test_the_token_typed_normal(copy, checkpoint):
    with_last(copy, "tokenizer.ggml.token_type", 300, 1)
    found = failed(copy, checkpoint)
    assert {"contract", "reset token type", "llama.cpp: control", "llama.cpp: one token"} <= set(found)
    assert "is of type 1" in found["reset token type"]


def test_reset_as_an_end_of_generation(tmp_path, checkpoint):
    """The id of the end of text is made the reset token's."""
    convert(checkpoint, tmp_path / "out.gguf", type="f32")
    patch(tmp_path / "out.gguf", {"tokenizer.ggml.eos_token_id": 300})
    found = failed(tmp_path / "out.gguf")
    assert "tokenizer.ggml.eos_token_id" in found["reset token ends no reply"]
    assert "llama.cpp: no end" in found


def test_reset_as_the_end_of_a_turn(tmp_path):
    write_checkpoint(tmp_path / "c")
    (tmp_path / "c" / "generation_config.json").write_text('{"eos_token_id": [2, 0]}')
    convert(tmp_path / "c", tmp_path / "out.gguf", type="f32")
    assert failed(tmp_path / "out.gguf") == {}
    patch(tmp_path / "out.gguf", {"tokenizer.ggml.eot_token_id": 300})
    found = failed(tmp_path / "out.gguf")
    assert "tokenizer.ggml.eot_token_id" in found["reset token ends no reply"]
    assert "llama.cpp: no end" in found


@pytest.mark.parametrize("key", sorted(set(END_KEYS) - {"tokenizer.ggml.eos_token_id"}))
def test_reset_in_any_key_that_ends(tmp_path, converted, key):
    bad = rewritten(converted, tmp_path / "bad.gguf", {key: TypedValue(ValueType.UINT32, 300)})
    assert key in failed(bad)["reset token ends no reply"]


def test_a_missing_tensor(tmp_path, converted, checkpoint):
    bad = rewritten(converted, tmp_path / "bad.gguf", {}, without=("blk.1.ffn_up.weight",))
    assert failed(bad, checkpoint)["tensors"].startswith("missing: blk.1.ffn_up.weight")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("llama.rope.freq_base", TypedValue(ValueType.FLOAT32, 500000.0)),
        ("llama.attention.layer_norm_rms_epsilon", TypedValue(ValueType.FLOAT32, 1e-6)),
        ("llama.rope.scaling.factor", TypedValue(ValueType.FLOAT32, 2.0)),
        ("llama.attention.head_count_kv", TypedValue(ValueType.UINT32, 4)),
    ],
)
@pytest.mark.parametrize("source", ["checkpoint", "converted"])
def test_another_setting(tmp_path, converted, request, source, key, value):
    bad = rewritten(converted, tmp_path / "bad.gguf", {key: value})
    found = failed(bad, request.getfixturevalue(source))
    assert key in found["settings"]
    assert set(found) <= {"settings", "llama.cpp", "q and k row order"}


def test_the_adapter_left_out(tmp_path, plain_base, adapter):
    write_checkpoint(tmp_path / "named", tied=False, bf16=True, rows=None)
    convert(plain_base, tmp_path / "merged.gguf", adapter=adapter, type="f32")
    convert(tmp_path / "named", tmp_path / "bare.gguf", type="f32")
    assert not [c for c in verify(tmp_path / "merged.gguf", plain_base, adapter) if c.verdict == "fail"]
    found = {c.name for c in verify(tmp_path / "bare.gguf", plain_base, adapter) if c.verdict == "fail"}
    assert {"source hash", "weights", "q and k row order"} <= found


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("blk.0.ffn_up.weight", "copied bytes"),
        ("blk.0.attn_norm.weight", "copied bytes"),
        ("blk.1.attn_k.weight", "q and k row order"),
    ],
)
def test_one_flipped_bit(copy, checkpoint, name, check):
    offset = tensor(copy, name).offset + 400
    old = copy.read_bytes()[offset]
    overwrite(copy, offset, bytes([old ^ 1]))
    found = failed(copy, checkpoint)
    assert list(found) == [check]
    assert name in found[check]


def test_one_flipped_bit_of_the_reset_tokens_logit(tmp_path):
    """Of an untied head: the row that is multiplied to the reset token's logit."""
    write_checkpoint(tmp_path / "c", tied=False)
    convert(tmp_path / "c", tmp_path / "out.gguf", type="f32")
    info = tensor(tmp_path / "out.gguf", "output.weight")
    offset = info.offset + 300 * (info.nbytes // info.shape[0])
    old = (tmp_path / "out.gguf").read_bytes()[offset]
    overwrite(tmp_path / "out.gguf", offset, bytes([old ^ 1]))
    found = failed(tmp_path / "out.gguf", tmp_path / "c")
    assert list(found) == ["copied bytes"]
    assert "output.weight" in found["copied bytes"]


def test_a_changed_letter_of_the_template(copy, checkpoint):
    raw = copy.read_bytes()
    overwrite(copy, raw.index(b"m.content"), b"m.Content")
    assert list(failed(copy, checkpoint)) == ["vocabulary"]


def test_a_flipped_bit_in_the_reset_row(copy):
    info = tensor(copy, "token_embd.weight")
    offset = info.offset + 300 * (info.nbytes // info.shape[0])
    overwrite(copy, offset, bytes([copy.read_bytes()[offset] ^ 1]))
    assert list(failed(copy)) == ["reset row"]


def test_a_changed_number_in_a_quantized_file(tmp_path, checkpoint):
    convert(checkpoint, tmp_path / "out.gguf", type="q8_0")
    assert failed(tmp_path / "out.gguf", checkpoint) == {}
    offset = tensor(tmp_path / "out.gguf", "blk.0.ffn_up.weight").offset + 34 + 2
    old = (tmp_path / "out.gguf").read_bytes()[offset]
    overwrite(tmp_path / "out.gguf", offset, bytes([(old + 4) % 256]))
    assert list(failed(tmp_path / "out.gguf", checkpoint)) == ["weights"]


def test_swapped_rows(copy, checkpoint):
    info = tensor(copy, "token_embd.weight")
    width = info.nbytes // info.shape[0]
    raw = copy.read_bytes()[info.offset : info.offset + 2 * width]
    overwrite(copy, info.offset, raw[width:] + raw[:width])
    assert "token_embd.weight" in failed(copy, checkpoint)["copied bytes"]


def test_a_wrong_pre_tokenizer(copy, checkpoint):
    """One that llama.cpp knows and the source does not mean; as long as smollm, so that it fits in its place."""
    patch(copy, {"tokenizer.ggml.pre": "falcon"})
    found = failed(copy, checkpoint)
    assert list(found) == ["vocabulary"]
    assert found["vocabulary"] == "tokenizer.ggml.pre is 'falcon', and the source's 'smollm'"


@pytest.mark.slow
def test_a_wrong_pre_tokenizer_of_a_real_vocabulary(tmp_path, real_base):
    """There the corpus shows it, too: the small one has too few merges to tell them apart."""
    bad = shutil.copy(real_base, tmp_path / "bad.gguf")
    patch(bad, {"tokenizer.ggml.pre": "falcon"})
    found = failed(bad, real_base)
    assert list(found) == ["vocabulary", "tokenizer"]
    assert "other ids than the source's for" in found["tokenizer"]


@pytest.mark.parametrize(
    ("key", "token_id", "value"), [("tokenizer.ggml.token_type", 7, 4), ("tokenizer.ggml.token_type", 301, 1)]
)
def test_another_type_of_a_token(copy, checkpoint, key, token_id, value):
    with_last(copy, key, token_id, value)
    assert f"of the token {token_id}" in failed(copy, checkpoint)["vocabulary"]


def test_a_pre_tokenizer_that_llama_does_not_know(copy, checkpoint):
    patch(copy, {"tokenizer.ggml.pre": "chatgl"})
    assert "llama.cpp" in failed(copy, checkpoint)  # and no crash of ours


def test_another_source(copy, tmp_path):
    write_checkpoint(tmp_path / "other", bf16=True)
    assert "source hash" in failed(copy, tmp_path / "other")


def test_tokens_that_llama_aborts_on_are_a_failed_check(copy):
    """Two tokens of one text make llama.cpp end its process; ours goes on."""
    raw = copy.read_bytes()
    assert raw.count(b"[PAD301]") == 1
    overwrite(copy, raw.index(b"[PAD301]"), b"[PAD302]")
    assert "llama.cpp" in failed(copy)


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"hello")
    assert "not a GGUF file" in failed(tmp_path / "x.gguf")["file"]
