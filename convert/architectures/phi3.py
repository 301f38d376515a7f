"""Phi-3: q, k and v are one matrix, as are the two halves of the first feed-forward one, in llama.cpp too.

So an adapter of the fused matrices merges as it is. llama.cpp leaves the sliding window out, so the context
ends where the window does: up to there both compute the same.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from convert import decoder
from convert.errors import TakebackError
from convert.gguf_header import TypedValue
from convert.numbers import Floats
from convert.transform import Transform

NAMES = {"Phi3ForCausalLM": "phi3"}
GGUF = "phi3"
OPTIONAL = ("lm_head.weight",)
OWN_HEAD = True

_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_ORIGINAL = 4096
_LONG = ("longrope", "su", "yarn")
"""transformers reads the last two, of old configs, as longrope too."""


def hyper_parameters(config: Mapping[str, Any]) -> dict[str, TypedValue]:
    """The `phi3.*` metadata of a config.json."""
    decoder.check_activation(config, "hidden_act", "silu")
    values = decoder.counts(config)
    if values["attention.key_length"] * values["attention.head_count"] != values["embedding_length"]:
        raise TakebackError("config.json: head_dim is not hidden_size / heads, as llama.cpp's phi3 needs")
    values["context_length"] = decoder.within_window(config, values["context_length"])
    rope = decoder.rope(config, ("default", *_LONG))
    part = decoder.number({**config, **rope}, "partial_rotary_factor", 1.0)
    values["rope.dimension_count"] = int(int(values["attention.key_length"]) * part)
    values["rope.freq_base"] = decoder.number(rope, "rope_theta", 10_000.0)
    values["rope.scaling.original_context_length"] = _original(config, rope)
    if rope["rope_type"] in _LONG:
        values["rope.scaling.attn_factor"] = _attention_factor(config, rope)
    return decoder.metadata(GGUF, values)


def _original(config: Mapping[str, Any], rope: Mapping[str, Any]) -> int:
    """How many tokens the short factors are for; transformers has the key in one of two places."""
    key = "original_max_position_embeddings"
    return decoder.whole(rope if key in rope else config, key, _ORIGINAL)


def _attention_factor(config: Mapping[str, Any], rope: Mapping[str, Any]) -> float:
    """By how much q and k grow together with the context: transformers' formula."""
    if rope.get("attention_factor") is not None:
        return decoder.number(rope, "attention_factor", None)
    original = _original(config, rope)
    ratio = decoder.whole(config, "max_position_embeddings") / original
    factor = ratio if rope.get("factor") is None else decoder.number(rope, "factor", None)
    return math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0


def tensor_names(values: Mapping[str, Any]) -> dict[str, str]:
    """Checkpoint name → GGUF name of every tensor."""
    return decoder.names(decoder.count(values, GGUF, "block_count"), _LAYER)


def transforms(values: Mapping[str, Any]) -> dict[str, Transform]:
    """None: llama.cpp has every tensor as the checkpoint has it."""
    return {}


def made_tensors(config: Mapping[str, Any]) -> dict[str, Floats]:
    """The factors of each rotary frequency, for short and for long contexts, which only the config holds."""
    rope = decoder.rope(config, ("default", *_LONG))
    if rope["rope_type"] not in _LONG:
        return {}
    half = hyper_parameters(config)[f"{GGUF}.rope.dimension_count"].data // 2
    made = {}
    for kind in ("long", "short"):
        factors = rope.get(f"{kind}_factor")
        if not isinstance(factors, list) or len(factors) != half:
            raise TakebackError(f"config.json: {kind}_factor is no list of {half} numbers")
        numbers = [decoder.number({"factor": factor}, "factor", None) for factor in factors]
        made[f"rope_factors_{kind}.weight"] = np.array(numbers, np.float32)
    return made
