"""What the families of architectures share: reading a config.json, and the names of a decoder's tensors.

All of it is checked here: a config.json is untrusted, and llama.cpp aborts on impossible numbers. Each function
raises TakebackError with the name of what is wrong.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from convert.errors import TakebackError
from convert.gguf_header import TypedValue, ValueType

_LARGEST = 3e38
"""A number of the config is stored as float32, which holds little more."""
_MOST = 65_536

TENSORS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
"""Module → llama.cpp's name, outside the layers."""
LAYER = {
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
"""The same of one layer of a model that is built like Llama."""


def counts(config: Mapping[str, Any], head_dim: int | None = None) -> dict[str, int | float]:
    """The numbers that every decoder has, by llama.cpp's keys less the architecture's name.

    `head_dim` is for families whose config does not say it; the default is hidden size / heads.
    """
    heads, hidden = whole(config, "num_attention_heads"), whole(config, "hidden_size")
    kv_heads = whole(config, "num_key_value_heads", heads)
    head_dim = whole(config, "head_dim", head_dim or hidden // heads)
    if heads % kv_heads:
        raise TakebackError(f"config.json: {heads} heads cannot share {kv_heads} key and value heads")
    return {
        "block_count": whole(config, "num_hidden_layers"),
        "context_length": whole(config, "max_position_embeddings"),
        "embedding_length": hidden,
        "feed_forward_length": whole(config, "intermediate_size"),
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "rope.dimension_count": head_dim,
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "attention.layer_norm_rms_epsilon": number(config, "rms_norm_eps", 1e-6),
        "vocab_size": whole(config, "vocab_size"),
    }


def within_window(config: Mapping[str, Any], context: int | float) -> int:
    """The context length of a family whose sliding window llama.cpp does not know: up to there it is exact."""
    return (
        int(context)
        if config.get("sliding_window") is None
        else min(int(context), whole(config, "sliding_window"))
    )


def metadata(architecture: str, values: Mapping[str, int | float | str]) -> dict[str, TypedValue]:
    """Plain values as GGUF metadata of an architecture."""
    kinds = {int: ValueType.UINT32, float: ValueType.FLOAT32, str: ValueType.STRING}
    return {f"{architecture}.{name}": TypedValue(kinds[type(value)], value) for name, value in values.items()}


def check_activation(config: Mapping[str, Any], key: str, *allowed: str) -> None:
    """Refuse an activation that is not what llama.cpp always uses in the family."""
    if (config.get(key) or allowed[0]) not in allowed:
        raise TakebackError(
            f"config.json: {key} is not {' or '.join(allowed)}, which llama.cpp always uses here"
        )


def rope(config: Mapping[str, Any], types: Sequence[str], layers: str | None = None) -> dict[str, Any]:
    """The rope settings as transformers 5 writes them; transformers 4 spreads them over two keys.

    `types` are the rope types that the family can have. `layers` is the kind of layer whose settings are
    meant, where transformers 5 holds one object for each kind.
    """
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if layers is not None and isinstance(given, dict) and isinstance(given.get(layers), dict):
        given = given[layers]
    if not isinstance(given, dict):
        raise TakebackError("config.json: the rope settings are no object")
    settings = {"rope_theta": config.get("rope_theta", 10_000.0), **given}
    settings["rope_type"] = settings.get("rope_type") or settings.get("type") or "default"
    if settings["rope_type"] not in types:
        raise TakebackError(
            f"config.json: the rope type {str(settings['rope_type'])[:40]!r} cannot be converted"
        )
    return settings


def rope_values(settings: Mapping[str, Any]) -> dict[str, int | float | str]:
    """The keys of a rope that turns every element of a head: its base, and a linear scaling."""
    if settings.get("partial_rotary_factor", 1) != 1:
        raise TakebackError("config.json: partial_rotary_factor cannot be converted")
    values: dict[str, int | float | str] = {"rope.freq_base": number(settings, "rope_theta", 10_000.0)}
    if settings["rope_type"] == "linear":
        values["rope.scaling.type"] = "linear"
        values["rope.scaling.factor"] = number(settings, "factor", None)
    return values


def whole(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """A whole number above 0; null and nothing mean the default."""
    value = config.get(name)
    value = default if value is None else value
    if type(value) is not int or not 0 < value < 1 << 31:
        raise TakebackError(f"config.json: {name} is missing or no whole number above 0")
    return value


def number(config: Mapping[str, Any], name: str, default: float | None) -> float:
    """A number above 0."""
    value = config.get(name, default)
    if type(value) not in (int, float) or not 0 < value < _LARGEST:
        raise TakebackError(f"config.json: {name} is missing or no usable number above 0")
    return float(value)


def count(values: Mapping[str, Any], architecture: str, name: str) -> int:
    """A count in the metadata of a file, which is untrusted too."""
    value = values.get(f"{architecture}.{name}")
    if type(value) is not int or not 0 < value <= _MOST:
        raise TakebackError(f"the metadata {architecture}.{name} is missing or no usable number")
    return value


def names(
    blocks: int,
    layer: Mapping[str, str] = LAYER,
    biases: Iterable[str] = (),
    tensors: Mapping[str, str] = TENSORS,
) -> dict[str, str]:
    """Checkpoint name → GGUF name of every tensor; `biases` are the modules of a layer that have one too."""
    found = {f"{theirs}.weight": f"{ours}.weight" for theirs, ours in tensors.items()}
    biased = frozenset(biases)
    for block in range(blocks):
        for theirs, ours in layer.items():
            for part in ("weight", "bias") if theirs in biased else ("weight",):
                found[f"model.layers.{block}.{theirs}.{part}"] = f"blk.{block}.{ours}.{part}"
    return found
