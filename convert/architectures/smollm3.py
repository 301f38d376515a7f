"""SmolLM3: Llama with every fourth layer without rotary positions (NoPE)."""

from collections.abc import Mapping
from typing import Any

from convert import decoder
from convert.architectures.llama import rotary_order
from convert.errors import TakebackError
from convert.gguf_header import TypedValue
from convert.numbers import Floats
from convert.transform import Transform

NAMES = {"SmolLM3ForCausalLM": "smollm3"}
GGUF = "smollm3"
OPTIONAL = ("lm_head.weight",)
OWN_HEAD = True

_PERIOD = 4
"""llama.cpp leaves the positions out of every fourth layer, and has no key for another number."""
_BASE = 2_000_000.0


def hyper_parameters(config: Mapping[str, Any]) -> dict[str, TypedValue]:
    """The `smollm3.*` metadata of a config.json."""
    decoder.check_activation(config, "hidden_act", "silu")
    values = decoder.counts(config)
    layers = int(values["block_count"])
    period = decoder.whole(config, "no_rope_layer_interval", _PERIOD)
    given = config.get("no_rope_layers") or [int((i + 1) % period != 0) for i in range(layers)]
    if given != [int((i + 1) % _PERIOD != 0) for i in range(layers)]:  # a 1 says that there are positions
        raise TakebackError(
            f"config.json: no_rope_layers is not every {_PERIOD}th layer, as llama.cpp has it"
        )
    if config.get("use_sliding_window"):
        values["context_length"] = decoder.within_window(config, values["context_length"])
    rope = decoder.rope({"rope_theta": _BASE, **config}, ("default", "linear"))
    return decoder.metadata(GGUF, values | decoder.rope_values(rope))


def tensor_names(values: Mapping[str, Any]) -> dict[str, str]:
    """Checkpoint name → GGUF name of every tensor."""
    return decoder.names(decoder.count(values, GGUF, "block_count"))


def transforms(values: Mapping[str, Any]) -> dict[str, Transform]:
    """The rows of q and k move in every layer: where there are no positions, together they change nothing."""
    return rotary_order(values, GGUF)


def made_tensors(config: Mapping[str, Any]) -> dict[str, Floats]:
    """None: all follows from the keys."""
    return {}
