"""Gemma 3's text models: two rope bases, five sliding layers for each full one, norms of q and k."""

import numpy as np
import pytest

from convert.architectures import gemma3
from convert.convert import convert
from convert.errors import TakebackError
from tests.convert.architectures.test_gemma2 import LAYER as GEMMA2_LAYER
from tests.convert.architectures.test_gemma2 import NORMS, gemma_tokenizer
from tests.convert.family import compare, converted, shapes, sizes, transformers_checkpoint, write_family
from tests.convert.test_convert import values

LAYER = GEMMA2_LAYER | {"self_attn.q_norm": (32,), "self_attn.k_norm": (32,)}
CONFIG = sizes(
    architectures=["Gemma3ForCausalLM"],
    num_hidden_layers=2,
    head_dim=32,
    query_pre_attn_scalar=32,
    sliding_window=24,
    hidden_activation="gelu_pytorch_tanh",
)
OLD = {"rope_theta": 1e6, "rope_local_base_freq": 2e4, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}
NEW = {
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 2e4},
    }
}


@pytest.mark.parametrize("rope", [OLD, NEW], ids=["transformers-4", "transformers-5"])
def test_norms_and_two_ropes(tmp_path, rope):
    tensors = write_family(tmp_path / "c", CONFIG | rope, shapes(2, LAYER, tied=False), gemma_tokenizer())
    out, metadata = converted(tmp_path / "c")
    found = values(out)
    names = NORMS | {"model.layers.1.self_attn.k_norm": "blk.1.attn_k_norm"}
    for theirs, ours in names.items():
        assert np.array_equal(found[f"{ours}.weight"], tensors[f"{theirs}.weight"] + np.float32(1)), ours
    assert np.array_equal(found["output.weight"], tensors["lm_head.weight"])
    expected = {
        "rope.freq_base": 1e6,
        "rope.freq_base_swa": 2e4,
        "rope.scaling.type": "linear",
        "rope.scaling.factor": 8.0,
        "attention.sliding_window": 24,
    }
    assert {key: metadata[f"gemma3.{key}"] for key in expected} == expected


def test_another_query_scale_goes_into_the_norm_behind_q(tmp_path):
    config = CONFIG | NEW | {"query_pre_attn_scalar": 8}
    tensors = write_family(tmp_path / "c", config, shapes(2, LAYER), gemma_tokenizer())
    out, metadata = converted(tmp_path / "c")
    found = values(out)
    assert metadata["gemma3.takeback.query_factor"] == 2.0
    name = "model.layers.0.self_attn.q"
    assert np.array_equal(found["blk.0.attn_q.weight"], tensors[f"{name}_proj.weight"])
    assert np.allclose(found["blk.0.attn_q_norm.weight"], 2 * (1 + tensors[f"{name}_norm.weight"]), rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "pattern"),
    [
        ({"num_hidden_layers": 12}, None),
        ({"num_hidden_layers": 12, "sliding_window_pattern": 3}, 3),
        ({"layer_types": ["sliding_attention", "full_attention"]}, 2),
        ({"layer_types": ["sliding_attention"] * 2}, None),
        ({"num_hidden_layers": 8, "layer_types": ["sliding_attention"] * 8}, 9),
    ],
)
def test_the_pattern_is_written_where_it_is_not_llama_s_own(changes, pattern):
    found = gemma3.hyper_parameters(CONFIG | changes).get("gemma3.attention.sliding_window_pattern")
    assert (found and found.data) == pattern


def test_no_window_where_no_layer_slides():
    found = gemma3.hyper_parameters(CONFIG | {"layer_types": ["full_attention"] * 2})
    assert not [key for key in found if "sliding" in key or "swa" in key]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "rope type 'yarn'"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ({"architectures": ["Gemma3ForConditionalGeneration"]}, "known: .*Gemma3ForCausalLM"),
    ],
)
def test_what_llama_does_not_know_is_refused(tmp_path, changes, why):
    write_family(tmp_path / "c", CONFIG | changes, shapes(2, LAYER), gemma_tokenizer())
    with pytest.raises(TakebackError, match=why):
        convert(tmp_path / "c", tmp_path / "out.gguf")


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 7},
        {"num_hidden_layers": 3, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
        {"num_hidden_layers": 2, "query_pre_attn_scalar": 8, "final_logit_softcapping": 4.0},
        {"num_hidden_layers": 2, "layer_types": ["full_attention"] * 2},
    ],
    ids=["six-and-one", "pattern-2", "scale-and-cap", "none-slides"],
)
def test_logits_are_transformers_own(tmp_path, changes):
    """ggml looks gelu up in a table of half precision, so the last bits differ."""
    transformers = pytest.importorskip("transformers")
    given = {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 24}
    config = transformers.Gemma3TextConfig(**sizes(**given) | NEW | changes)
    _, expected = transformers_checkpoint(tmp_path / "c", config, gemma_tokenizer())
    compare(tmp_path / "c", expected, 2e-3)
