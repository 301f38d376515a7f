"""Mistral: llama.cpp's llama, up to the end of the sliding window."""

import pytest

from tests.convert.family import (
    compare,
    converted,
    layer_shapes,
    shapes,
    sizes,
    transformers_checkpoint,
    write_family,
)


@pytest.mark.parametrize(("window", "length"), [(None, 512), (96, 96), (4096, 512)])
def test_the_context_ends_where_the_window_does(tmp_path, window, length):
    config = sizes(
        architectures=["MistralForCausalLM"], num_hidden_layers=2, head_dim=32, sliding_window=window
    )
    write_family(tmp_path / "c", config | {"rope_theta": 1e6}, shapes(2, layer_shapes(32), tied=False))
    _, metadata = converted(tmp_path / "c")
    assert metadata["general.architecture"] == "llama"
    assert metadata["llama.context_length"] == length
    assert metadata["llama.attention.key_length"] == metadata["llama.rope.dimension_count"] == 32
    assert "llama.attention.sliding_window" not in metadata


@pytest.mark.slow
def test_logits_are_transformers_own(tmp_path):
    """With a head size that is not hidden / heads, as Mistral Nemo has."""
    transformers = pytest.importorskip("transformers")
    rope = {"rope_type": "default", "rope_theta": 1e6}
    config = transformers.MistralConfig(
        **sizes(num_hidden_layers=2, head_dim=32, sliding_window=96, rope_parameters=rope)
    )
    _, expected = transformers_checkpoint(tmp_path / "c", config)
    compare(tmp_path / "c", expected, 2e-5)
