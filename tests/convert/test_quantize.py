"""Every type of file that llama.cpp makes, with the reset token's rows protected and without."""

import numpy as np
import pytest

from convert import quantize
from convert.checkpoint import open_checkpoint
from convert.convert import convert
from convert.errors import TakebackError
from convert.export import write_gguf
from convert.gguf_header import GGML_TYPES, TypedValue, ValueType, read_header
from convert.importance import read_importances
from convert.merge import OutputTensor
from convert.progress import silent
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
NEEDING = {
    **{name: name for name in ("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs")},
    **{"q2_k_s": "q2_k", "iq2_s": "iq2_xs", "iq2_m": "iq2_s", "iq3_xs": "iq3_xxs", "iq3_xxs": "iq2_s"},
}
"""The same of the types that need importances."""
UNREADABLE = ("q1_0", "q2_0")
"""What the gguf package cannot read back as numbers."""


@pytest.fixture(scope="module")
def untied(tmp_path_factory):
    folder = tmp_path_factory.mktemp("untied")
    write_checkpoint(folder, tied=False, bf16=True)
    return folder


def test_every_type_is_tried():
    assert set(MAKES) == set(quantize.FILE_TYPES) - quantize.NEED_IMPORTANCE
    assert set(NEEDING) == quantize.NEED_IMPORTANCE


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


@pytest.fixture(scope="module")
def importances(untied, tmp_path_factory):
    """A file as llama-imatrix writes it, of numbers made up; of one matrix it has seen nothing."""
    folder = tmp_path_factory.mktemp("importances")
    convert(untied, folder / "m.gguf", type="f32")
    tensors = []
    for info in read_header(folder / "m.gguf").tensors:
        if len(info.shape) == 2 and info.name.startswith("blk."):
            sums = 10 * np.random.default_rng(len(tensors)).random((1, info.shape[1]), np.float32)
            used = np.full((1, 1), 0 if info.name == "blk.0.ffn_up.weight" else 10, np.float32)
            for name, made in ((f"{info.name}.in_sum2", sums), (f"{info.name}.counts", used)):
                tensors.append(OutputTensor(name, made.shape, 0, made=made))
    keys = {"general.type": TypedValue(ValueType.STRING, "imatrix")}
    write_gguf(folder / "imatrix.gguf", keys, tensors, lambda *seen: None, silent)
    return folder / "imatrix.gguf"


@pytest.mark.parametrize("file_type", NEEDING)
def test_every_type_that_needs_importances(tmp_path, untied, importances, file_type):
    with pytest.raises(TakebackError, match=f"{file_type} needs measured importances.*--imatrix"):
        convert(untied, tmp_path / "out.gguf", type=file_type)
    convert(untied, tmp_path / "out.gguf", type=file_type, importances=importances)
    types = {t.name: GGML_TYPES[t.ggml_type][0] for t in read_header(tmp_path / "out.gguf").tensors}
    assert types["blk.0.attn_q.weight"] == NEEDING[file_type]
    assert types["token_embd.weight"] == types["output.weight"] == "q8_0"
    assert not [check for check in verify(tmp_path / "out.gguf", untied) if check.verdict == "fail"]


def test_importances_change_what_is_kept(tmp_path, untied, importances):
    for name, given in (("with.gguf", importances), ("without.gguf", None)):
        convert(untied, tmp_path / name, type="q4_k_m", importances=given)

    def matrix(name, tensor):
        with open_checkpoint(tmp_path / name) as opened:
            return opened.tensors[tensor].values()

    with open_checkpoint(untied) as opened:
        true = opened.tensors["model.layers.1.mlp.up_proj.weight"].values()
    weights = read_importances(importances)["blk.1.ffn_up.weight"]
    errors = [
        (weights * np.square(matrix(name, "blk.1.ffn_up.weight") - true)).sum()
        for name in ("with.gguf", "without.gguf")
    ]
    assert errors[0] < errors[1]


def test_importances_of_one_wide_matrix(tmp_path):
    """llama.cpp writes those of one matrix with one dimension, however wide it is."""
    sums, used = np.full(20_000, 6, np.float32), np.full(1, 2, np.float32)
    named = (("blk.0.ffn_down.weight.in_sum2", sums), ("blk.0.ffn_down.weight.counts", used))
    tensors = [OutputTensor(name, made.shape, 0, made=made) for name, made in named]
    keys = {"general.type": TypedValue(ValueType.STRING, "imatrix")}
    write_gguf(tmp_path / "imatrix.gguf", keys, tensors, lambda *seen: None, silent)
    found = read_importances(tmp_path / "imatrix.gguf")
    assert found["blk.0.ffn_down.weight"].tolist() == [3.0] * 20_000


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda path: path.rename(path.with_suffix(".dat")).with_suffix(".dat"), "give the .gguf file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-99]), "cut off"),
        (
            lambda path: path.write_bytes(path.read_bytes().replace(b".in_sum2", b".in_sumX")),
            "no importances",
        ),
        (lambda path: path.write_bytes(path.read_bytes()[:-40] + b"\xff" * 40), "no mean of squares"),
    ],
)
def test_importances_that_are_none_are_refused(tmp_path, untied, importances, change, why):
    given = tmp_path / "given.gguf"
    given.write_bytes(importances.read_bytes())
    changed = change(given)
    with pytest.raises(TakebackError, match=why):
        place = changed if isinstance(changed, type(given)) else given
        convert(untied, tmp_path / "out.gguf", type="iq2_xs", importances=place)
    with pytest.raises(TakebackError, match="changes nothing in q8_0"):
        convert(untied, tmp_path / "out.gguf", type="q8_0", importances=importances)


def test_the_list_is_llama_cpp_s(untied, tmp_path, monkeypatch):
    """Each type that llama.cpp names is made here, or is one that it does not make."""
    import llama_cpp.llama_cpp as llama

    start = "LLAMA_FTYPE_MOSTLY_"
    known = {
        name.removeprefix(start).lower(): getattr(llama, name)
        for name in dir(llama)
        if name.startswith(start)
    }
    unmade = {name: number for name, number in known.items() if number not in quantize.FILE_TYPES.values()}
    assert set(unmade) == {"nvfp4"}
    monkeypatch.setattr("convert.convert.NEED_IMPORTANCE", frozenset())
    for name in ("nvfp4", *quantize.NEED_IMPORTANCE):
        monkeypatch.setitem(quantize.FILE_TYPES, name, known[name])
        with pytest.raises(TakebackError, match=r"requires an imatrix|invalid output file type"):
            convert(untied, tmp_path / "out.gguf", type=name)
