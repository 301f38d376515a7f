"""The two header readers: what they accept, and that nothing but TakebackError comes out of damaged files."""

import json
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convert.checkpoint import open_checkpoint
from convert.errors import TakebackError
from convert.gguf_header import ValueType, read_header
from convert.safetensors_header import read_safetensors_header
from tests.convert.small_model import safetensors_bytes, write_checkpoint

SOUND = safetensors_bytes({"a.weight": np.ones((2, 3), np.float32), "b.bias": np.ones(4, np.uint16)})


def gguf_bytes(version=3, tensors=(("t", (32, 2), 8, 0),), alignment=32):
    def text(value):
        return struct.pack("<Q", len(value.encode())) + value.encode()

    raw = b"GGUF" + struct.pack("<IQQ", version, len(tensors), 4)
    raw += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    raw += text("flag") + struct.pack("<IB", 7, 1)
    raw += text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("é")
    raw += text("scores") + struct.pack("<IIQff", 9, 6, 2, 0.5, -1.0)
    for name, dimensions, kind, offset in tensors:
        raw += text(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, kind, offset)
    raw += bytes(-len(raw) % alignment)
    return raw + bytes(68)


@pytest.fixture
def read(tmp_path):
    def at_once(raw, reader=read_header):
        path = tmp_path / "file"
        path.write_bytes(raw)
        return reader(path)

    return at_once


def test_a_gguf_header_is_read(read):
    header = read(gguf_bytes())
    assert header.metadata == {
        "general.architecture": "llama",
        "flag": True,
        "tokens": ("a", "é"),
        "scores": (0.5, -1.0),
    }
    assert header.typed["scores"].element is ValueType.FLOAT32
    assert header.tensors[0].shape == (2, 32)
    assert header.tensors[0].nbytes == 68
    assert header.tensors[0].offset == header.data_offset


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "empty"),
        (b"GGML" + bytes(60), "does not begin with GGUF"),
        (gguf_bytes(version=1), "version 1"),
        (gguf_bytes()[:-1], "cut off"),
        (gguf_bytes()[:70], "cut off"),
        (gguf_bytes(tensors=(("t", (32, 2), 8, 32),)), "is at 32 and not at 0"),
        (gguf_bytes(tensors=(("t", (31, 2), 8, 0),)), "no multiple"),
        (gguf_bytes(tensors=(("t", (32, 2), 99, 0),)), "unknown type 99"),
        (gguf_bytes(tensors=(("t", (1 << 40, 1 << 40), 0, 0),)), "impossible shape"),
        (gguf_bytes(tensors=(("t", (8,), 0, 0), ("t", (8,), 0, 32))), "there twice"),
        (gguf_bytes(tensors=(("t" * 64, (8,), 0, 0),)), "a name of 64 bytes"),
        (gguf_bytes().replace(b"flag", b"fl\xffg"), "not UTF-8"),
        (gguf_bytes().replace(struct.pack("<IIQ", 9, 8, 2), struct.pack("<IIQ", 9, 8, 1 << 60)), "cut off"),
        (gguf_bytes().replace(struct.pack("<IIQ", 9, 8, 2), struct.pack("<IIQ", 9, 9, 2)), "array of arrays"),
    ],
)
def test_a_wrong_gguf_header_is_refused(read, raw, why):
    with pytest.raises(TakebackError, match=why):
        read(raw)


def test_only_an_empty_file_is_called_empty(read, monkeypatch):
    def broken(_parser):
        raise ValueError("a defect of the reader")

    monkeypatch.setattr("convert.gguf_header._Parser.header", broken)
    with pytest.raises(ValueError, match="a defect"):
        read(gguf_bytes())


def with_header(header, data=bytes(32)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(begin, end, dtype="F32", shape=None):
    return {
        "dtype": dtype,
        "shape": [(end - begin) // 4] if shape is None else shape,
        "data_offsets": [begin, end],
    }


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"\x08", "cut off"),
        (struct.pack("<Q", 1 << 60) + b"{}", "header would be"),
        (with_header(b"{"), "no JSON"),
        (with_header(b"[" * 100_000), "no JSON"),
        (with_header(b"[]"), "no JSON object"),
        (with_header(b'{"a": 1, "a": 2}'), "twice"),
        (with_header({"a": entry(0, 16)}), "should be"),
        (with_header({"a": entry(0, 16), "b": entry(8, 32)}), "overlap"),
        (with_header({"a": entry(0, 8), "b": entry(16, 32)}), "gap"),
        (with_header({"a": entry(0, 32, "Q8")}), "unknown type"),
        (with_header({"a": entry(0, 32, shape=[9])}), "do not fit"),
        (with_header({"a": entry(0, 32, shape=[-8])}), "impossible shape"),
        (with_header({"a": entry(0, 32, shape=[True] * 8)}), "impossible shape"),
        (with_header({"a": entry(0, 32, shape=8)}), "impossible shape"),
        (with_header({"../a\n": entry(0, 32)}), "is called"),
        (with_header({"a": {"dtype": "F32"}}), "entry of a"),
    ],
)
def test_a_wrong_safetensors_header_is_refused(read, raw, why):
    with pytest.raises(TakebackError, match=why):
        read(raw, read_safetensors_header)


def mutated(sound):
    """The bytes of a sound file with some of them changed, cut out or put in."""
    change = st.tuples(st.integers(0, len(sound) - 1), st.integers(0, 3), st.binary(max_size=9))

    def apply(changes):
        raw = bytearray(sound)
        for at, drop, put in changes:
            raw[at : at + drop] = put
        return bytes(raw)

    return st.one_of(st.lists(change, min_size=1, max_size=4).map(apply), st.binary(max_size=200))


@settings(max_examples=300, deadline=None)
@given(mutated(gguf_bytes()))
def test_damaged_gguf_bytes_raise_nothing_else(raw):
    _only_takeback_errors(raw, read_header)


@settings(max_examples=300, deadline=None)
@given(mutated(SOUND))
def test_damaged_safetensors_bytes_raise_nothing_else(raw):
    _only_takeback_errors(raw, read_safetensors_header)


def _only_takeback_errors(raw, reader):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(raw)
        try:
            reader(path)
        except TakebackError as error:
            assert "\n" not in str(error)


def test_shards_are_read_by_their_index(tmp_path):
    tensors = write_checkpoint(tmp_path, shards=3)
    with open_checkpoint(tmp_path) as opened:
        assert set(opened.tensors) == set(tensors)
        for name, array in tensors.items():
            assert np.array_equal(opened.tensors[name].values(), array)


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/passwd", "a\\b.safetensors", "c:x.safetensors", 3]
)
def test_an_index_may_name_only_plain_files(tmp_path, name):
    write_checkpoint(tmp_path, shards=2)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(TakebackError, match="plain file names"), open_checkpoint(tmp_path):
        pass


def test_an_index_must_be_right(tmp_path):
    write_checkpoint(tmp_path, shards=2)
    index = tmp_path / "model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": places | {"model.more": "model-0.safetensors"}}))
    with pytest.raises(TakebackError, match="is in no file"), open_checkpoint(tmp_path):
        pass
    del places["model.norm.weight"]
    index.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(TakebackError, match="puts elsewhere"), open_checkpoint(tmp_path):
        pass


def test_pickle_is_refused_by_name(tmp_path):
    write_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(TakebackError, match=r"pytorch_model\.bin is a pickle"), open_checkpoint(tmp_path):
        pass
    with pytest.raises(TakebackError, match="pickle"), open_checkpoint(tmp_path / "pytorch_model.bin"):
        pass
    with pytest.raises(TakebackError, match="no such file"), open_checkpoint(tmp_path / "nothing"):
        pass
