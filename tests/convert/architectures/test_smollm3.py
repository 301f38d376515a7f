"""SmolLM3: every fourth layer without rotary positions."""

import numpy as np
import pytest

from convert.convert import convert
from convert.errors import TakebackError
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

CONFIG = sizes(architectures=["SmolLM3ForCausalLM"], num_hidden_layers=5, no_rope_layers=[1, 1, 1, 0, 1])


def test_rows_move_in_every_layer(tmp_path):
    tensors = write_family(tmp_path / "c", CONFIG, shapes(5, layer_shapes()), byte_level())
    out, metadata = converted(tmp_path / "c")
    order = np.arange(16).reshape(2, 8).T.reshape(-1)
    for block in (0, 3):
        theirs = tensors[f"model.layers.{block}.self_attn.k_proj.weight"]
        assert np.array_equal(values(out)[f"blk.{block}.attn_k.weight"][:16], theirs[:16][order])
    assert metadata["general.architecture"] == "smollm3"
    assert metadata["smollm3.rope.freq_base"] == 2e6


@pytest.mark.parametrize(
    "changes", [{"no_rope_layers": [1, 1, 0, 1, 1]}, {"no_rope_layers": None, "no_rope_layer_interval": 3}]
)
def test_another_pattern_is_refused(tmp_path, changes):
    write_family(tmp_path / "c", CONFIG | changes, shapes(5, layer_shapes()), byte_level())
    with pytest.raises(TakebackError, match="every 4th layer"):
        convert(tmp_path / "c", tmp_path / "out.gguf")


@pytest.mark.slow
def test_logits_are_transformers_own(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.SmolLM3Config(**sizes(num_hidden_layers=5))
    _, expected = transformers_checkpoint(tmp_path / "c", config, byte_level())
    compare(tmp_path / "c", expected, 2e-5)
