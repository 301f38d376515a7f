"""Mistral, whose layers are Llama's, and which llama.cpp takes for one.

It knows no sliding window there, so the context ends where the window does: up to there both compute the same.
"""

from collections.abc import Mapping
from typing import Any

from convert import decoder
from convert.architectures import llama
from convert.gguf_header import TypedValue
from convert.numbers import Floats

NAMES = {"MistralForCausalLM": "mistral"}
GGUF = llama.GGUF
OPTIONAL = ("lm_head.weight",)
OWN_HEAD = True

transforms = llama.transforms


def hyper_parameters(config: Mapping[str, Any]) -> dict[str, TypedValue]:
    """The `llama.*` metadata of a config.json."""
    decoder.check_activation(config, "hidden_act", "silu")
    values = decoder.counts(config)
    values["context_length"] = decoder.within_window(config, values["context_length"])
    return decoder.metadata(GGUF, values | decoder.rope_values(decoder.rope(config, ("default", "linear"))))


def tensor_names(values: Mapping[str, Any]) -> dict[str, str]:
    """Checkpoint name → GGUF name of every tensor: Llama's without a bias."""
    return decoder.names(decoder.count(values, GGUF, "block_count"))


def made_tensors(config: Mapping[str, Any]) -> dict[str, Floats]:
    """None: all follows from the keys."""
    return {}
