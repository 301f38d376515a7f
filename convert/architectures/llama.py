"""Llama 2, 3, 3.1 and 3.2, and what is built like them, such as SmolLM2.

llama.cpp turns neighbouring pairs of a head's elements (its "norm" rotary order); transformers turns elements
half a head apart. So the rows of q and k change places within each head.
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

NAMES = {"LlamaForCausalLM": "llama"}
GGUF = "llama"
OPTIONAL = (".bias", "lm_head.weight")
OWN_HEAD = True


def hyper_parameters(config: Mapping[str, Any]) -> dict[str, TypedValue]:
    """The `llama.*` metadata of a config.json, of transformers 4 or 5. TakebackError names what is wrong."""
    decoder.check_activation(config, "hidden_act", "silu")
    return decoder.metadata(GGUF, decoder.counts(config) | decoder.rope_values(_rope(config)))


def tensor_names(values: Mapping[str, Any]) -> dict[str, str]:
    """Checkpoint name → GGUF name of every tensor that such a model may have; `values` is plain metadata."""
    return decoder.names(decoder.count(values, GGUF, "block_count"), biases=decoder.LAYER)


def transforms(values: Mapping[str, Any]) -> dict[str, Transform]:
    """Checkpoint name → what becomes of the tensor, for those that are not copied."""
    return rotary_order(values, GGUF)


def rotary_order(values: Mapping[str, Any], architecture: str) -> dict[str, Transform]:
    """The change of q and k for an architecture whose rotary order is llama.cpp's "norm"."""
    heads = decoder.count(values, architecture, "attention.head_count")
    kv_heads = decoder.count(values, architecture, "attention.head_count_kv")
    return {
        f"model.layers.{block}.self_attn.{module}.{part}": Transform(heads=number)
        for block in range(decoder.count(values, architecture, "block_count"))
        for module, number in (("q_proj", heads), ("k_proj", kv_heads))
        for part in ("weight", "bias")
    }


def made_tensors(config: Mapping[str, Any]) -> dict[str, Floats]:
    """The tensors that only the config holds: Llama 3's slowing of each rotary frequency.

    The formula is transformers' `_compute_llama3_parameters`; llama.cpp divides the frequency by the factor.
    """
    rope = _rope(config)
    if rope["rope_type"] != "llama3":
        return {}
    factor = decoder.number(rope, "factor", None)
    low = decoder.number(rope, "low_freq_factor", None)
    high = decoder.number(rope, "high_freq_factor", None)
    length = decoder.number(rope, "original_max_position_embeddings", None)
    if low >= high:
        raise TakebackError("config.json: the llama3 rope scaling's factors are impossible")
    dimension = decoder.counts(config)["rope.dimension_count"]
    frequencies = decoder.number(rope, "rope_theta", 10_000.0) ** -(np.arange(0, dimension, 2) / dimension)
    wavelengths = 2 * math.pi / frequencies
    smooth = np.clip((length / wavelengths - low) / (high - low), 0, 1)
    return {"rope_freqs.weight": (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)}


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    return decoder.rope(config, ("default", "linear", "llama3"))
