"""Faults made on purpose: each must be found, and called by its name."""

import shutil

import numpy as np
import pytest

from convert.convert import convert
from convert.export import patch
from convert.gguf_header import read_header
from convert.verify import verify
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


def test_another_pre_tokenizer(copy, checkpoint):
    patch(copy, {"tokenizer.ggml.pre": "chatgl"})  # as long as smollm
    assert "llama.cpp" in failed(copy, checkpoint)  # and no crash of ours
    patch(copy, {"tokenizer.ggml.pre": "olmo\0\0".replace("\0", "x")})
    assert failed(copy, checkpoint)


def test_another_tokenizer_than_the_source_s(copy, checkpoint):
    header = read_header(copy)
    start = header.places["tokenizer.ggml.pre"]
    assert copy.read_bytes()[start + 8 : start + 14] == b"smollm"
    patch(copy, {"tokenizer.ggml.pre": "bloom "[:5] + "m"})
    assert {"llama.cpp", "tokenizer"} & set(failed(copy, checkpoint))


def test_another_source(copy, tmp_path):
    from tests.convert.small_model import write_checkpoint

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
