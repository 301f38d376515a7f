"""Qwen 2 and 2.5: q, k and v have biases, and the rotary order is transformers' own.

llama.cpp knows no sliding window here. Where a config uses one, the context ends where the window does.
"""

from collections.abc import Mapping
from typing import Any

from convert import decoder
from convert.errors import TakebackError
from convert.gguf_header import TypedValue
from convert.numbers import Floats
from convert.transform import Transform

NAMES = {"Qwen2ForCausalLM": "qwen2"}
GGUF = "qwen2"
OPTIONAL = ("lm_head.weight",)
OWN_HEAD = True

_BIASED = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


def hyper_parameters(config: Mapping[str, Any]) -> dict[str, TypedValue]:
    """The `qwen2.*` metadata of a config.json."""
    decoder.check_activation(config, "hidden_act", "silu")
    values = decoder.counts(config)
    if values["attention.key_length"] * values["attention.head_count"] != values["embedding_length"]:
        raise TakebackError("config.json: head_dim is not hidden_size / heads, as llama.cpp's qwen2 needs")
    if config.get("use_sliding_window"):
        values["context_length"] = decoder.within_window(config, values["context_length"])
    return decoder.metadata(GGUF, values | decoder.rope_values(decoder.rope(config, ("default", "linear"))))


def tensor_names(values: Mapping[str, Any]) -> dict[str, str]:
    """Checkpoint name → GGUF name of every tensor."""
    return decoder.names(decoder.count(values, GGUF, "block_count"), biases=_BIASED)


def transforms(values: Mapping[str, Any]) -> dict[str, Transform]:
    """None: llama.cpp has every tensor as the checkpoint has it."""
    return {}


def made_tensors(config: Mapping[str, Any]) -> dict[str, Floats]:
    """None: all follows from the keys."""
    return {}
