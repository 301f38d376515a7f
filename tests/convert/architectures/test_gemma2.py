"""Gemma 2: norms that count from 1, soft caps, a sliding window, a tied head, the query's scale."""

import math

import numpy as np
import pytest

from convert.convert import convert
from convert.errors import TakebackError
from convert.gguf_header import read_header
from convert.verify import verify
from tests.convert.family import (
    HIDDEN,
    IDS,
    compare,
    converted,
    layer_shapes,
    reset,
    shapes,
    sizes,
    transformers_checkpoint,
    write_family,
)
from tests.convert.llama_logits import logits
from tests.convert.sentencepiece_tokenizer import sentencepiece_tokenizer
from tests.convert.small_model import safetensors_bytes, write_adapter, write_record
from tests.convert.test_convert import values
from tests.convert.test_verify import overwrite, tensor

LAYER = layer_shapes(32) | {"pre_feedforward_layernorm": (HIDDEN,), "post_feedforward_layernorm": (HIDDEN,)}
CONFIG = sizes(
    architectures=["Gemma2ForCausalLM"],
    num_hidden_layers=2,
    head_dim=32,
    query_pre_attn_scalar=32,
    sliding_window=24,
    attn_logit_softcapping=50.0,
    final_logit_softcapping=30.0,
    hidden_act="gelu_pytorch_tanh",
)
NORMS = {
    "model.norm": "output_norm",
    "model.layers.1.input_layernorm": "blk.1.attn_norm",
    "model.layers.1.post_attention_layernorm": "blk.1.post_attention_norm",
    "model.layers.1.pre_feedforward_layernorm": "blk.1.ffn_norm",
    "model.layers.1.post_feedforward_layernorm": "blk.1.post_ffw_norm",
}


def gemma_tokenizer():
    return sentencepiece_tokenizer("none", added=[reset()])[0]


def write(folder, **changes):
    return write_family(folder, CONFIG | changes, shapes(2, LAYER), gemma_tokenizer())


def test_every_norm_counts_from_1(tmp_path):
    tensors = write(tmp_path / "c")
    out, metadata = converted(tmp_path / "c")
    found = values(out)
    for theirs, ours in NORMS.items():
        assert np.array_equal(found[f"{ours}.weight"], tensors[f"{theirs}.weight"] + np.float32(1)), ours
    query = tensors["model.layers.1.self_attn.q_proj.weight"]
    assert np.array_equal(found["blk.1.attn_q.weight"], query)
    expected = {
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "attention.sliding_window": 24,
        "attention.key_length": 32,
        "attention.head_count_kv": 2,
    }
    assert {key: metadata[f"gemma2.{key}"] for key in expected} == expected
    assert not [key for key in metadata if "pattern" in key or "query_factor" in key]
    assert metadata["tokenizer.ggml.add_space_prefix"] is False


def test_a_norm_without_the_1_is_caught_by_name(tmp_path):
    tensors = write(tmp_path / "c")
    out, _ = converted(tmp_path / "c")
    info = tensor(out, "blk.0.ffn_norm.weight")
    overwrite(out, info.offset, tensors["model.layers.0.pre_feedforward_layernorm.weight"].tobytes())
    failed = [check for check in verify(out, tmp_path / "c") if check.verdict == "fail"]
    assert [check.name for check in failed] == ["norms"]
    assert "without the 1" in failed[0].detail


def test_another_query_scale_goes_into_q(tmp_path):
    """llama.cpp scales by the head's size, 32; the adapter's part of q is scaled too, in a GGUF base as well."""
    tensors = write(tmp_path / "c", query_pre_attn_scalar=8)
    out, metadata = converted(tmp_path / "c")
    assert metadata["gemma2.takeback.query_factor"] == 2.0
    query = tensors["model.layers.0.self_attn.q_proj.weight"]
    assert np.allclose(values(out)["blk.0.attn_q.weight"], 2 * query, rtol=1e-6)
    row = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"
    name = "base_model.model.model.layers.0.self_attn.q_proj."
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=shape).astype(np.float32) for shape in ((8, HIDDEN), (128, 8)))
    write_adapter(tmp_path / "a", 20)
    wanted = {name + "lora_A.weight": a, name + "lora_B.weight": b, row: tensors["model.norm.weight"][None]}
    (tmp_path / "a" / "adapter_model.safetensors").write_bytes(safetensors_bytes(wanted))
    write_record(tmp_path / "a")
    for source in (tmp_path / "c", out):
        convert(source, tmp_path / "m.gguf", adapter=tmp_path / "a", type="f32", force=True)
        merged = values(tmp_path / "m.gguf")["blk.0.attn_q.weight"]
        assert np.allclose(merged, 2 * (query + 2.0 * b @ a), atol=1e-4)
        failed = [c for c in verify(tmp_path / "m.gguf", source, tmp_path / "a") if c.verdict == "fail"]
        assert not failed
    convert(tmp_path / "c", tmp_path / "q.gguf", type="q5_1")
    assert not [check for check in verify(tmp_path / "q.gguf", tmp_path / "c") if check.verdict == "fail"]


def test_a_query_without_its_scale_is_caught_by_name(tmp_path):
    tensors = write(tmp_path / "c", query_pre_attn_scalar=8)
    out, _ = converted(tmp_path / "c")
    query = tensors["model.layers.1.self_attn.q_proj.weight"]
    overwrite(out, tensor(out, "blk.1.attn_q.weight").offset, query.tobytes())
    failed = [check for check in verify(out, tmp_path / "c") if check.verdict == "fail"]
    assert [check.name for check in failed] == ["query scale"]
    assert "not 2 times it" in failed[0].detail


def test_the_27b_model_has_its_scale_in_llama(tmp_path):
    """Of 46 layers llama.cpp scales by hidden / heads; here 16."""
    from convert.architectures import gemma2

    config = CONFIG | {"num_hidden_layers": 46}
    for scalar, factor in ((16, None), (32, math.sqrt(0.5))):
        found = gemma2.hyper_parameters(config | {"query_pre_attn_scalar": scalar})
        given = found.get("gemma2.takeback.query_factor")
        assert (given and given.data) == factor


def test_a_head_of_its_own_is_refused(tmp_path):
    tensors = write(tmp_path / "c")
    embedding = tensors["model.embed_tokens.weight"]
    for head, refused in ((embedding, False), (embedding + 1, True)):
        given = safetensors_bytes(tensors | {"lm_head.weight": head})
        (tmp_path / "c" / "model.safetensors").write_bytes(given)
        if refused:
            with pytest.raises(TakebackError, match="gemma2 has no head of its own"):
                convert(tmp_path / "c", tmp_path / "out.gguf", force=True)
        else:
            convert(tmp_path / "c", tmp_path / "out.gguf")
            assert "output.weight" not in {t.name for t in read_header(tmp_path / "out.gguf").tensors}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"attn_logit_softcapping": None}, "attn_logit_softcapping"),
        ({"hidden_act": "silu"}, "hidden_act"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "no pattern that llama.cpp knows"),
        ({"layer_types": ["sliding_attention"]}, "layer_types is no list"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ],
)
def test_what_llama_does_not_know_is_refused(tmp_path, changes, why):
    write(tmp_path / "c", **changes)
    with pytest.raises(TakebackError, match=why):
        convert(tmp_path / "c", tmp_path / "out.gguf")


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"query_pre_attn_scalar": 8},
        {"layer_types": ["sliding_attention"] * 2},
        {"layer_types": ["full_attention"] * 2},
    ],
    ids=["two-layers", "query-scale", "all-slide", "none-slides"],
)
def test_logits_are_transformers_own(tmp_path, changes):
    """ggml looks gelu up in a table of half precision, so the last bits differ."""
    transformers = pytest.importorskip("transformers")
    given = {"num_hidden_layers": 2, "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 24}
    config = transformers.Gemma2Config(
        **sizes(**given, attn_logit_softcapping=2.0, final_logit_softcapping=4.0) | changes
    )
    _, expected = transformers_checkpoint(tmp_path / "c", config, gemma_tokenizer())
    out, _ = compare(tmp_path / "c", expected, 2e-3)
    info = tensor(out, "blk.1.attn_norm.weight")
    raw = np.frombuffer(out.read_bytes()[info.offset : info.offset + 4 * HIDDEN], np.float32)
    overwrite(out, info.offset, (raw - 1).tobytes())
    assert np.abs(logits(out, IDS) - expected).max() > 0.1 * np.abs(expected).max()
