"""What Gemma 2 and Gemma 3 share: norms that count from 1, four of them a layer, sliding layers, a query scale."""

import math
from collections.abc import Mapping
from typing import Any

from convert import decoder
from convert.errors import TakebackError
from convert.transform import UNCHANGED, Transform

LAYER = decoder.LAYER | {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
FACTOR = "takeback.query_factor"
"""Our own key, behind the architecture's name: what the query was multiplied by. Only there where that is not 1."""

_FULL, _SLIDING = "full_attention", "sliding_attention"
_HEAD_DIM = 256
_SCALAR = 256.0


def counts(config: Mapping[str, Any], layers_of_27b: int) -> dict[str, int | float | str]:
    """The numbers of a Gemma.

    llama.cpp scales the query by 1/√head_dim, and in a model of as many layers as the 27B one by
    1/√(hidden / heads); it has no key for another scale. Where the config says another, the query is multiplied.
    """
    for key in ("hidden_activation", "hidden_act"):
        decoder.check_activation(
            config, key, "gelu_pytorch_tanh", *(("gelu",) if key == "hidden_act" else ())
        )
    if config.get("use_bidirectional_attention"):
        raise TakebackError(
            "config.json: use_bidirectional_attention is set; only text that is read forwards can be"
        )
    values: dict[str, int | float | str] = {**decoder.counts(config, head_dim=_HEAD_DIM)}
    scalar = decoder.number(config, "query_pre_attn_scalar", _SCALAR)
    width = decoder.whole(config, "head_dim", _HEAD_DIM)
    if values["block_count"] == layers_of_27b:
        width = decoder.whole(config, "hidden_size") // decoder.whole(config, "num_attention_heads")
    if width != scalar:
        values[FACTOR] = math.sqrt(width / scalar)
    return values


def sliding_period(config: Mapping[str, Any], default: int) -> int | None:
    """Every how many layers one sees all the context, as llama.cpp counts; None where every layer does.

    `default` is for a config without layer_types and sliding_window_pattern.
    """
    layers = decoder.whole(config, "num_hidden_layers")
    period = decoder.whole(config, "sliding_window_pattern", default)
    kinds = config.get("layer_types") or [_SLIDING if (i + 1) % period else _FULL for i in range(layers)]
    if not isinstance(kinds, list) or len(kinds) != layers or not set(kinds) <= {_FULL, _SLIDING}:
        raise TakebackError("config.json: layer_types is no list of sliding_attention and full_attention")
    if _SLIDING not in kinds:
        return None
    found = kinds.index(_FULL) + 1 if _FULL in kinds else max(layers + 1, default)
    if kinds != [_SLIDING if (i + 1) % found else _FULL for i in range(layers)]:
        raise TakebackError("config.json: layer_types follows no pattern that llama.cpp knows")
    return found


def transforms(
    values: Mapping[str, Any], architecture: str, names: Mapping[str, str], scaled: str
) -> dict[str, Transform]:
    """Every norm counts from 0 in the checkpoint, and from 1 in llama.cpp.

    `scaled` is the module that takes the query's factor: the last one that scales q.
    """
    changes = {name: Transform(plus=1.0) for name in names if name.endswith("norm.weight")}
    factor = values.get(f"{architecture}.{FACTOR}")
    if isinstance(factor, float):
        for name in names:
            if name.endswith(f"{scaled}.weight"):
                plus = changes.get(name, UNCHANGED).plus
                changes[name] = Transform(times=factor, plus=factor * plus)
    return changes
