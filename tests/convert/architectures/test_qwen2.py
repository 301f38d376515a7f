"""Qwen 2 and 2.5: biases of q, k and v, no change of order."""

import json

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
from tests.convert.test_vocabulary import LLAMA3, split

CONFIG = sizes(architectures=["Qwen2ForCausalLM"], num_hidden_layers=2, rope_theta=1e6, sliding_window=64)
BIASED = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


def qwen_tokenizer():
    """The tokenizer of Qwen: single digits, and Unicode's composed form."""
    value = json.loads(byte_level())
    value["pre_tokenizer"] = split(LLAMA3.replace("{1,3}", ""))
    value["normalizer"] = {"type": "NFC"}
    return json.dumps(value).encode()


def test_names_and_biases(tmp_path):
    tensors = write_family(tmp_path / "c", CONFIG, shapes(2, layer_shapes(), biases=BIASED), qwen_tokenizer())
    out, metadata = converted(tmp_path / "c")
    found = values(out)
    for theirs, ours in (("q_proj", "attn_q"), ("k_proj", "attn_k"), ("v_proj", "attn_v")):
        for part in ("weight", "bias"):
            expected = tensors[f"model.layers.1.self_attn.{theirs}.{part}"]
            assert np.array_equal(found[f"blk.1.{ours}.{part}"], expected)
    assert metadata["qwen2.rope.freq_base"] == 1e6
    assert metadata["qwen2.context_length"] == 512
    assert metadata["tokenizer.ggml.pre"] == "qwen2"
    assert metadata["tokenizer.ggml.add_bos_token"] is False
    checks = {check.name: check.detail for check in verify(out, tmp_path / "c")}
    assert "of composed characters" in checks["tokenizer"]


def test_a_window_in_use_ends_the_context(tmp_path):
    write_family(
        tmp_path / "c", CONFIG | {"use_sliding_window": True}, shapes(2, layer_shapes(), biases=BIASED)
    )
    assert converted(tmp_path / "c")[1]["qwen2.context_length"] == 64


@pytest.mark.parametrize(
    ("changes", "layer", "biases", "why"),
    [
        ({}, layer_shapes(), BIASED[:2], r"lacks model\.layers\.0\.self_attn\.v_proj\.bias"),
        ({"head_dim": 32}, layer_shapes(32), BIASED, "head_dim is not"),
        ({"num_key_value_heads": 3}, layer_shapes(), BIASED, "4 heads cannot share 3"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, changes, layer, biases, why):
    write_family(tmp_path / "c", CONFIG | changes, shapes(2, layer, biases=biases))
    with pytest.raises(TakebackError, match=why):
        convert(tmp_path / "c", tmp_path / "out.gguf")


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_logits_are_transformers_own(tmp_path, tied):
    transformers = pytest.importorskip("transformers")
    config = transformers.Qwen2Config(**sizes(num_hidden_layers=2, tie_word_embeddings=tied))
    _, expected = transformers_checkpoint(tmp_path / "c", config, qwen_tokenizer())
    compare(tmp_path / "c", expected, 2e-5)
