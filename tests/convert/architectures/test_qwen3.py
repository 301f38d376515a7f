"""Qwen 3: norms of q and k, a head size of its own."""

import numpy as np
import pytest

from convert.convert import convert
from convert.errors import TakebackError
from tests.convert.architectures.test_qwen2 import qwen_tokenizer
from tests.convert.family import (
    compare,
    converted,
    layer_shapes,
    shapes,
    sizes,
    transformers_checkpoint,
    write_family,
)
from tests.convert.test_convert import values

CONFIG = sizes(architectures=["Qwen3ForCausalLM"], num_hidden_layers=2, head_dim=32, rope_theta=1e6)
LAYER = layer_shapes(32) | {"self_attn.q_norm": (32,), "self_attn.k_norm": (32,)}


def test_names_and_norms(tmp_path):
    tensors = write_family(tmp_path / "c", CONFIG, shapes(2, LAYER), qwen_tokenizer())
    out, metadata = converted(tmp_path / "c")
    found = values(out)
    for theirs, ours in (("q_norm", "attn_q_norm"), ("k_norm", "attn_k_norm"), ("q_proj", "attn_q")):
        assert np.array_equal(
            found[f"blk.0.{ours}.weight"], tensors[f"model.layers.0.self_attn.{theirs}.weight"]
        )
    assert metadata["qwen3.attention.key_length"] == metadata["qwen3.attention.value_length"] == 32


def test_a_missing_norm_and_a_bias_are_refused(tmp_path):
    for layer, biases, why in (
        (layer_shapes(32), (), "lacks"),
        (LAYER, ("self_attn.q_proj",), "has the tensor"),
    ):
        write_family(tmp_path / "c", CONFIG, shapes(2, layer, biases=biases))
        with pytest.raises(TakebackError, match=why):
            convert(tmp_path / "c", tmp_path / "out.gguf")


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_logits_are_transformers_own(tmp_path, tied):
    transformers = pytest.importorskip("transformers")
    config = transformers.Qwen3Config(**sizes(num_hidden_layers=2, head_dim=32, tie_word_embeddings=tied))
    _, expected = transformers_checkpoint(tmp_path / "c", config, qwen_tokenizer())
    compare(tmp_path / "c", expected, 2e-5)
