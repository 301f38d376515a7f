"""Llama 2 and 3 and what is built like them, such as SmolLM2.

llama.cpp turns neighbouring pairs of a head's elements (its "norm" rotary order); transformers turns elements
half a head apart. So the rows of q and k change places within each head.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from convert.errors import TakebackError
from convert.gguf_header import TypedValue, ValueType
from convert.numbers import Floats

GGUF = "llama"
_LARGEST = 3e38
"""A number of the config is stored as float32, which holds little more."""

_TENSORS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def hyper_parameters(config: Mapping[str, Any]) -> dict[str, TypedValue]:
    """The `llama.*` metadata of a config.json, of transformers 4 or 5. TakebackError names what is wrong."""
    heads, hidden = _whole(config, "num_attention_heads"), _whole(config, "hidden_size")
    head_dim = _whole(config, "head_dim", hidden // heads)
    if config.get("hidden_act", "silu") != "silu":
        raise TakebackError("config.json: hidden_act is not silu, which llama.cpp's llama always uses")
    scaling = _rope(config)
    counts = {
        "block_count": _whole(config, "num_hidden_layers"),
        "context_length": _whole(config, "max_position_embeddings"),
        "embedding_length": hidden,
        "feed_forward_length": _whole(config, "intermediate_size"),
        "attention.head_count": heads,
        "attention.head_count_kv": _whole(config, "num_key_value_heads", heads),
        "rope.dimension_count": head_dim,
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "vocab_size": _whole(config, "vocab_size"),
    }
    values = {f"{GGUF}.{name}": TypedValue(ValueType.UINT32, count) for name, count in counts.items()}
    theta, epsilon = _number(scaling, "rope_theta", 10_000.0), _number(config, "rms_norm_eps", 1e-6)
    values[f"{GGUF}.rope.freq_base"] = TypedValue(ValueType.FLOAT32, theta)
    values[f"{GGUF}.attention.layer_norm_rms_epsilon"] = TypedValue(ValueType.FLOAT32, epsilon)
    if scaling["rope_type"] == "linear":
        values[f"{GGUF}.rope.scaling.type"] = TypedValue(ValueType.STRING, "linear")
        factor = _number(scaling, "factor", None)
        values[f"{GGUF}.rope.scaling.factor"] = TypedValue(ValueType.FLOAT32, factor)
    return values


def tensor_names(values: Mapping[str, Any]) -> dict[str, str]:
    """Checkpoint name → GGUF name of every tensor that such a model may have; `values` is plain metadata."""
    names = {f"{theirs}.weight": f"{ours}.weight" for theirs, ours in _TENSORS.items()}
    for block in range(_count(values, "block_count")):
        for theirs, ours in _LAYER.items():
            for part in ("weight", "bias"):
                names[f"model.layers.{block}.{theirs}.{part}"] = f"blk.{block}.{ours}.{part}"
    return names


def transforms(values: Mapping[str, Any]) -> dict[str, int]:
    """Checkpoint name → heads, for each tensor whose rows change places within a head (`merge.head_order`)."""
    heads = _count(values, "attention.head_count")
    kv_heads = _count(values, "attention.head_count_kv")
    return {
        f"model.layers.{block}.self_attn.{module}.{part}": count
        for block in range(_count(values, "block_count"))
        for module, count in (("q_proj", heads), ("k_proj", kv_heads))
        for part in ("weight", "bias")
    }


def made_tensors(config: Mapping[str, Any]) -> dict[str, Floats]:
    """The tensors that only the config holds: Llama 3's slowing of each rotary frequency.

    The formula is transformers' `_compute_llama3_parameters`; llama.cpp divides the frequency by the factor.
    """
    rope = _rope(config)
    if rope["rope_type"] != "llama3":
        return {}
    factor = _number(rope, "factor", None)
    low, high = _number(rope, "low_freq_factor", None), _number(rope, "high_freq_factor", None)
    length = _number(rope, "original_max_position_embeddings", None)
    if low >= high or factor <= 0:
        raise TakebackError("config.json: the llama3 rope scaling's factors are impossible")
    hyper = {key: value.data for key, value in hyper_parameters(config).items()}
    dimension = hyper[f"{GGUF}.rope.dimension_count"]
    frequencies = _number(rope, "rope_theta", 10_000.0) ** -(np.arange(0, dimension, 2) / dimension)
    wavelengths = 2 * math.pi / frequencies
    smooth = np.clip((length / wavelengths - low) / (high - low), 0, 1)
    return {"rope_freqs.weight": (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)}


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rope settings as transformers 5 writes them; transformers 4 spreads them over two keys."""
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(given, dict):
        raise TakebackError("config.json: the rope settings are no object")
    rope = {"rope_theta": config.get("rope_theta", 10_000.0), **given}
    rope["rope_type"] = rope.get("rope_type") or rope.get("type") or "default"
    if rope["rope_type"] not in ("default", "linear", "llama3"):
        raise TakebackError(f"config.json: the rope type {str(rope['rope_type'])[:40]!r} cannot be converted")
    if rope.get("partial_rotary_factor", 1) != 1:
        raise TakebackError("config.json: partial_rotary_factor cannot be converted")
    return rope


def _whole(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = config.get(name)
    value = default if value is None else value
    if type(value) is not int or not 0 < value < 1 << 31:
        raise TakebackError(f"config.json: {name} is missing or no whole number above 0")
    return value


def _number(config: Mapping[str, Any], name: str, default: float | None) -> float:
    value = config.get(name, default)
    if type(value) not in (int, float) or not 0 < value < _LARGEST:
        raise TakebackError(f"config.json: {name} is missing or no usable number above 0")
    return float(value)


def _count(values: Mapping[str, Any], name: str) -> int:
    value = values.get(f"{GGUF}.{name}")
    if type(value) is not int or not 0 < value <= 65_536:
        raise TakebackError(f"the metadata {GGUF}.{name} is missing or no usable number")
    return value
