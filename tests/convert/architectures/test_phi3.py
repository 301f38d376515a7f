"""Phi-3: fused matrices, longrope's two sets of factors, a LoRA adapter of what is fused."""

import json

import numpy as np
import pytest

from convert.convert import convert
from convert.errors import TakebackError
from convert.gguf_header import read_header
from convert.verify import verify
from tests.convert.family import (
    FFN,
    HEAD_DIM,
    HEADS,
    HIDDEN,
    IDS,
    KV_HEADS,
    compare,
    converted,
    reset,
    shapes,
    sizes,
    transformers_checkpoint,
    write_family,
)
from tests.convert.llama_logits import logits
from tests.convert.sentencepiece_tokenizer import sentencepiece_tokenizer
from tests.convert.test_convert import values

LAYER = {
    "input_layernorm": (HIDDEN,),
    "self_attn.qkv_proj": ((HEADS + 2 * KV_HEADS) * HEAD_DIM, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HEADS * HEAD_DIM),
    "post_attention_layernorm": (HIDDEN,),
    "mlp.gate_up_proj": (2 * FFN, HIDDEN),
    "mlp.down_proj": (HIDDEN, FFN),
}
FACTORS = {"short_factor": [1.0 + 0.1 * i for i in range(8)], "long_factor": [1.5 + i for i in range(8)]}
CONFIG = sizes(architectures=["Phi3ForCausalLM"], num_hidden_layers=2, sliding_window=100)


def phi_tokenizer():
    """Phi-3's: its special tokens but three swallow the white space behind them."""
    special = ("<unk>", "<s>", "</s>", "<|endoftext|>", "<|end|>", "<|user|>")
    value = json.loads(sentencepiece_tokenizer("first", special=special, added=[reset()])[0])
    for entry in value["added_tokens"]:
        entry["rstrip"] = entry["content"] in ("</s>", "<|end|>", "<|user|>")
    return json.dumps(value).encode()


def test_fused_matrices_are_copied(tmp_path):
    tensors = write_family(tmp_path / "c", CONFIG, shapes(2, LAYER, tied=False), phi_tokenizer())
    out, metadata = converted(tmp_path / "c")
    found = values(out)
    for theirs, ours in (("self_attn.qkv_proj", "attn_qkv"), ("mlp.gate_up_proj", "ffn_up")):
        assert np.array_equal(found[f"blk.1.{ours}.weight"], tensors[f"model.layers.1.{theirs}.weight"])
    assert metadata["phi3.context_length"] == 100
    assert not [name for name in found if name.startswith("rope")]
    assert metadata["general.name"].endswith("(phi-3)")
    for source in (tmp_path / "c", out):  # llama.cpp goes by the name, so another one says it too
        convert(source, tmp_path / "named.gguf", name="Mine", force=True)
        assert read_header(tmp_path / "named.gguf").metadata["general.name"] == "Mine (phi-3)"


@pytest.mark.parametrize("kind", ["longrope", "su"])
def test_longrope_s_factors_become_tensors(tmp_path, kind):
    rope = {"rope_scaling": {"type": kind, **FACTORS}, "original_max_position_embeddings": 32}
    write_family(tmp_path / "c", CONFIG | rope, shapes(2, LAYER, tied=False))
    out, metadata = converted(tmp_path / "c")
    for name, factors in (("short", "short_factor"), ("long", "long_factor")):
        assert np.array_equal(values(out)[f"rope_factors_{name}.weight"], np.float32(FACTORS[factors]))
    assert metadata["phi3.rope.scaling.original_context_length"] == 32
    assert metadata["phi3.rope.scaling.attn_factor"] == pytest.approx(np.sqrt(1 + np.log(16) / np.log(32)))


@pytest.mark.parametrize(
    ("rope", "why"),
    [
        ({"type": "longrope", **FACTORS, "long_factor": [1.0]}, "long_factor is no list of 8"),
        ({"type": "longrope", **FACTORS, "short_factor": [0] * 8}, "no usable number"),
        ({"type": "linear", "factor": 2.0}, "rope type 'linear'"),
    ],
)
def test_impossible_factors_are_refused(tmp_path, rope, why):
    write_family(tmp_path / "c", CONFIG | {"rope_scaling": rope}, shapes(2, LAYER, tied=False))
    with pytest.raises(TakebackError, match=why):
        convert(tmp_path / "c", tmp_path / "out.gguf")


def longrope(original):
    return {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "original_max_position_embeddings": original,
        **FACTORS,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
        },
        {"rope_parameters": longrope(32), "original_max_position_embeddings": 32},
        {
            "rope_parameters": longrope(512),
            "original_max_position_embeddings": 512,
            "max_position_embeddings": 1024,
        },
    ],
    ids=["mini-4k", "partial", "long-factors", "short-factors"],
)
def test_logits_are_transformers_own(tmp_path, changes):
    transformers = pytest.importorskip("transformers")
    config = transformers.Phi3Config(**sizes(num_hidden_layers=2) | changes)
    _, expected = transformers_checkpoint(tmp_path / "c", config, phi_tokenizer())
    compare(tmp_path / "c", expected, 2e-5)


@pytest.mark.slow
def test_an_adapter_of_what_is_fused(tmp_path):
    """PEFT's own merge, and ours from a folder and from a GGUF file, give the same logits."""
    transformers = pytest.importorskip("transformers")
    peft = pytest.importorskip("peft")
    torch = pytest.importorskip("torch")
    config = transformers.Phi3Config(**sizes(num_hidden_layers=2))
    model, before = transformers_checkpoint(tmp_path / "c", config, phi_tokenizer())
    lora = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["qkv_proj", "gate_up_proj", "o_proj"])
    adapted = peft.get_peft_model(model, lora)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape) * 0.2)
        expected = adapted(torch.tensor([IDS])).logits[0].numpy()
    adapted.save_pretrained(tmp_path / "a")
    assert np.abs(expected - before).max() > 0.1 * np.abs(before).max()
    base, _ = converted(tmp_path / "c")
    for source in (tmp_path / "c", base):
        out = tmp_path / "merged.gguf"
        convert(source, out, adapter=tmp_path / "a", type="f32", force=True)
        assert not [c for c in verify(out, source, tmp_path / "a") if c.verdict == "fail"]
        assert np.abs(logits(out, IDS) - expected).max() < 5e-5 * np.abs(expected).max()
