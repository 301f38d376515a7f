"""Qwen 3, dense: each head of q and k has a norm, and there is no bias.

llama.cpp knows no sliding window here. Where a config uses one, the context ends where the window does.
"""

from collections.abc import Mapping
from typing import Any

from convert import decoder
from convert.gguf_header import TypedValue
from convert.numbers import Floats
from convert.transform import Transform

NAMES = {"Qwen3ForCausalLM": "qwen3"}
GGUF = "qwen3"
OPTIONAL = ("lm_head.weight",)
OWN_HEAD = True

_LAYER = decoder.LAYER | {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
_HEAD_DIM = 128
"""What transformers takes where the config has no head_dim."""


def hyper_parameters(config: Mapping[str, Any]) -> dict[str, TypedValue]:
    """The `qwen3.*` metadata of a config.json."""
    decoder.check_activation(config, "hidden_act", "silu")
    values = decoder.counts(config, head_dim=_HEAD_DIM)
    if config.get("use_sliding_window"):
        values["context_length"] = decoder.within_window(config, values["context_length"])
    return decoder.metadata(GGUF, values | decoder.rope_values(decoder.rope(config, ("default", "linear"))))


def tensor_names(values: Mapping[str, Any]) -> dict[str, str]:
    """Checkpoint name → GGUF name of every tensor."""
    return decoder.names(decoder.count(values, GGUF, "block_count"), _LAYER)


def transforms(values: Mapping[str, Any]) -> dict[str, Transform]:
    """None: llama.cpp has every tensor as the checkpoint has it."""
    return {}


def made_tensors(config: Mapping[str, Any]) -> dict[str, Floats]:
    """None: all follows from the keys."""
    return {}
