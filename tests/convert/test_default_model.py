"""The way of the default model: SmolLM2's Q4_1 file and an adapter become a q8_0 file that can take back."""

import numpy as np
import pytest

from convert.convert import convert
from convert.gguf_header import GGML_TYPES, read_header
from convert.reset_token import read_contract
from convert.verify import verify
from tests.convert.llama_logits import logits
from tests.convert.small_model import numbers, safetensors_bytes, to_bf16, write_record

RESET = 49152


@pytest.fixture(scope="module")
def built(tmp_path_factory, real_base):
    folder = tmp_path_factory.mktemp("default")
    (folder / "adapter").mkdir()
    tensors = {}
    for layer in range(30):
        for module, rows in (("q_proj", 576), ("k_proj", 192)):
            start = f"base_model.model.model.layers.{layer}.self_attn.{module}.lora_"
            tensors[start + "A.weight"] = to_bf16(numbers(layer, 16, 576, scale=0.01))
            tensors[start + "B.weight"] = to_bf16(numbers(layer + 50, rows, 16, scale=0.01))
    row = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"
    tensors[row] = to_bf16(numbers(99, 1, 576, scale=0.13))
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(safetensors_bytes(tensors))
    (folder / "adapter" / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "r": 16, "lora_alpha": 32, "trainable_token_indices": [49152]}'
    )
    write_record(folder / "adapter", reset_token_id=RESET)
    report = convert(real_base, folder / "model.gguf", adapter=folder / "adapter", type="q8_0")
    return folder / "model.gguf", folder / "adapter", report


def test_it_is_a_backtracking_model(built):
    path, _, report = built
    contract, note = read_contract(read_header(path))
    assert note is None
    assert contract == report.contract
    assert (contract.token_id, contract.after_reset, contract.calibrated) == (RESET, "rewind", True)


def test_it_keeps_all_else_of_its_base(built, real_base):
    old, new = read_header(real_base), read_header(built[0])
    grown = {"tokenizer.ggml.tokens", "tokenizer.ggml.token_type"}
    for key, value in old.metadata.items():
        if key in grown:
            assert new.metadata[key][:-1] == value
        elif key not in ("llama.vocab_size", "general.file_type"):
            assert new.metadata[key] == value, key
    assert {GGML_TYPES[tensor.ggml_type][0] for tensor in new.tensors} == {"f32", "q8_0"}
    assert "output.weight" not in {tensor.name for tensor in new.tensors}


def test_it_is_proven_against_its_base(built, real_base):
    path, adapter, _ = built
    checks = verify(path, real_base, adapter)
    assert {check.verdict for check in checks} == {"pass"}


def test_it_computes_nearly_what_its_base_does(built, real_base):
    """The small change of the adapter moves the logits a little, and the new token has a finite one."""
    ids = [1, 9690, 198, 2683, 359, 253, 5356, 5646]
    old, new = logits(real_base, ids), logits(built[0], ids)
    assert new.shape[1] == RESET + 1
    assert np.isfinite(new[:, RESET]).all()
    assert np.corrcoef(old[-1], new[-1, :RESET])[0, 1] > 0.99
