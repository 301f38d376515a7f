"""Every type of file that llama.cpp makes, with the reset token's rows protected and without."""

import pytest

from convert import quantize
from convert.convert import convert
from convert.errors import TakebackError
from convert.gguf_header import GGML_TYPES, read_header
from convert.reset_token import read_contract
from convert.verify import verify
from tests.convert.small_model import write_checkpoint

pytestmark = pytest.mark.slow
MAKES = {
    **{name: name for name in ("f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q6_k")},
    **{"q3_k_s": "q3_k", "q3_k_m": "q3_k", "q3_k_l": "q3_k", "q4_k_s": "q4_k", "q4_k_m": "q4_k"},
    **{"q5_k_s": "q5_k", "q5_k_m": "q5_k", "iq3_m": "iq3_s", "mxfp4_moe": "q8_0"},
    **{name: name for name in ("iq3_s", "iq4_nl", "iq4_xs", "tq1_0", "tq2_0", "q1_0", "q2_0")},
}
"""The type of file, and that of its q matrices."""
UNREADABLE = ("q1_0", "q2_0")
"""What the gguf package cannot read back as numbers."""


@pytest.fixture(scope="module")
def untied(tmp_path_factory):
    folder = tmp_path_factory.mktemp("untied")
    write_checkpoint(folder, tied=False, bf16=True)
    return folder


def test_every_type_is_tried():
    assert set(MAKES) == set(quantize.FILE_TYPES)


@pytest.mark.parametrize("file_type", MAKES)
def test_every_type_with_its_rows_protected(tmp_path, untied, file_type):
    seen = set()

    def look(what, done, total):
        seen.add(tuple(sorted(path.suffix for path in tmp_path.iterdir())))
        assert 0 <= done <= total

    convert(untied, tmp_path / "out.gguf", type=file_type, progress=look)
    # One intermediate file at most: what is quantized, beside what comes of it.
    assert seen <= {(".part",), (".whole",), (".part", ".whole")}
    header = read_header(tmp_path / "out.gguf")
    types = {tensor.name: GGML_TYPES[tensor.ggml_type][0] for tensor in header.tensors}
    assert types["blk.0.attn_q.weight"] == MAKES[file_type]
    protected = file_type if file_type in ("f32", "f16", "bf16") else "q8_0"
    assert types["token_embd.weight"] == types["output.weight"] == protected
    assert header.metadata["general.file_type"] == quantize.FILE_TYPES[file_type]
    assert read_contract(header)[0].token_id == 300
    checks = verify(tmp_path / "out.gguf", untied)
    assert not [check for check in checks if check.verdict == "fail"]
    skipped = [check.name for check in checks if check.verdict == "skipped"]
    assert ("weights" in skipped or "q and k row order" in skipped) == (file_type in UNREADABLE)
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf"]


@pytest.mark.parametrize("file_type", ["q4_0", "q4_k_m", "q2_k", "iq4_xs", "q8_0"])
def test_protection_can_be_off_or_finer(tmp_path, untied, file_type):
    def rows(protect):
        convert(untied, tmp_path / "out.gguf", type=file_type, protect_reset=protect, force=True)
        types = {t.name: GGML_TYPES[t.ggml_type][0] for t in read_header(tmp_path / "out.gguf").tensors}
        return types["token_embd.weight"], types["output.weight"]

    assert rows("f16") == ("f16", "f16")
    off = rows(None)
    assert off == ("q8_0", "q8_0") if file_type == "q8_0" else off != ("q8_0", "q8_0")


@pytest.mark.parametrize("file_type", sorted(quantize.NEED_IMPORTANCE))
def test_what_needs_importances_is_refused_by_name(tmp_path, untied, file_type):
    with pytest.raises(TakebackError, match=f"{file_type} needs measured importances"):
        convert(untied, tmp_path / "out.gguf", type=file_type)


def test_the_list_is_llama_cpp_s(untied, tmp_path, monkeypatch):
    """Each type that llama.cpp names is made here, or is one that it refuses."""
    import llama_cpp.llama_cpp as llama

    start = "LLAMA_FTYPE_MOSTLY_"
    known = {
        name.removeprefix(start).lower(): getattr(llama, name)
        for name in dir(llama)
        if name.startswith(start)
    }
    unmade = {name: number for name, number in known.items() if number not in quantize.FILE_TYPES.values()}
    assert set(unmade) - quantize.NEED_IMPORTANCE == {"nvfp4"}
    monkeypatch.setattr("convert.convert.NEED_IMPORTANCE", frozenset())
    for name, number in unmade.items():
        monkeypatch.setitem(quantize.FILE_TYPES, name, number)
        with pytest.raises(TakebackError, match=r"requires an imatrix|invalid output file type"):
            convert(untied, tmp_path / "out.gguf", type=name)
