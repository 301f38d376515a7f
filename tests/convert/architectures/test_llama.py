"""Llama 2, 3.1 and 3.2: tied and untied, with either kind of vocabulary, with and without rope scaling."""

import numpy as np
import pytest

from convert.convert import convert
from convert.errors import TakebackError
from convert.verify import verify
from tests.convert.family import (
    byte_level,
    compare,
    converted,
    layer_shapes,
    shapes,
    sizes,
    transformers_checkpoint,
    write_family,
)
from tests.convert.test_convert import values
from tests.convert.test_verify import overwrite, tensor

ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
CONFIG = sizes(architectures=["LlamaForCausalLM"], model_type="llama", num_hidden_layers=2)


@pytest.mark.parametrize("tied", [True, False])
def test_a_llama_of_transformers_4_with_sentencepiece_s_vocabulary(tmp_path, tied):
    config = CONFIG | {"rope_theta": 500000.0, "rope_scaling": ROPE, "attention_bias": True}
    biased = ("self_attn.q_proj", "self_attn.o_proj")
    tensors = write_family(tmp_path / "c", config, shapes(2, layer_shapes(), tied=tied, biases=biased))
    out, metadata = converted(tmp_path / "c")
    assert metadata["llama.rope.freq_base"] == 500000.0
    assert metadata["llama.attention.head_count_kv"] == 2
    assert metadata["tokenizer.ggml.model"] == "llama"
    found = values(out)
    assert ("output.weight" in found) == (not tied)
    factors = found["rope_freqs.weight"]
    assert factors.shape == (8,)
    assert (factors[0], factors[-1]) == (1, 8)
    order = [0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15]
    bias = tensors["model.layers.1.self_attn.q_proj.bias"]
    assert np.array_equal(found["blk.1.attn_q.bias"][16:32], bias[16:32][order])
    assert np.array_equal(found["blk.1.attn_output.bias"], tensors["model.layers.1.self_attn.o_proj.bias"])


def test_other_rope_factors_are_caught_by_name(tmp_path):
    write_family(tmp_path / "c", CONFIG | {"rope_scaling": ROPE}, shapes(2, layer_shapes()))
    out, _ = converted(tmp_path / "c")
    overwrite(out, tensor(out, "rope_freqs.weight").offset, np.float32(2).tobytes())
    failed = [check.name for check in verify(out, tmp_path / "c") if check.verdict == "fail"]
    assert failed == ["rope factors"]


def test_impossible_rope_factors_are_refused(tmp_path):
    config = CONFIG | {"rope_scaling": ROPE | {"low_freq_factor": 4.0}}
    write_family(tmp_path / "c", config, shapes(2, layer_shapes()))
    with pytest.raises(TakebackError, match="llama3 rope scaling"):
        convert(tmp_path / "c", tmp_path / "out.gguf")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "tokenizer"),
    [
        (
            {
                "tie_word_embeddings": False,
                "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
            },
            None,
        ),
        ({"tie_word_embeddings": True, "rope_parameters": ROPE | {"rope_theta": 500000.0}}, byte_level),
        ({"tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True}, byte_level),
        (
            {
                "tie_word_embeddings": False,
                "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
            },
            None,
        ),
    ],
    ids=["llama-2", "llama-3.2", "biases", "linear"],
)
def test_logits_are_transformers_own(tmp_path, changes, tokenizer):
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(**sizes(num_hidden_layers=2, **changes))
    _, expected = transformers_checkpoint(tmp_path / "c", config, tokenizer and tokenizer())
    compare(tmp_path / "c", expected, 2e-5)
