"""Gemma 2: norms that count from 1, two soft caps, every second layer with a sliding window, a tied head."""

from collections.abc import Mapping
from typing import Any

from convert import decoder, gemma
from convert.gguf_header import TypedValue
from convert.numbers import Floats
from convert.transform import Transform

NAMES = {"Gemma2ForCausalLM": "gemma2"}
GGUF = "gemma2"
OPTIONAL = ("lm_head.weight",)
OWN_HEAD = False

_LAYERS_OF_27B = 46
_PERIOD = 2
_WINDOW = 4096


def hyper_parameters(config: Mapping[str, Any]) -> dict[str, TypedValue]:
    """The `gemma2.*` metadata of a config.json. llama.cpp always applies both soft caps."""
    values = gemma.counts(config, _LAYERS_OF_27B)
    values |= decoder.rope_values(decoder.rope(config, ("default", "linear")))
    for key, default in (("attn_logit_softcapping", 50.0), ("final_logit_softcapping", 30.0)):
        values[key] = decoder.number(config, key, default)
    window = decoder.whole(config, "sliding_window", _WINDOW)
    period = gemma.sliding_period(config, _PERIOD)
    if period is None:  # llama.cpp aborts where no layer slides: let all, by as much as there is
        period, window = int(values["block_count"]) + 1, int(values["context_length"])
    values["attention.sliding_window"] = window
    if period != _PERIOD:
        values["attention.sliding_window_pattern"] = period
    return decoder.metadata(GGUF, values)


def tensor_names(values: Mapping[str, Any]) -> dict[str, str]:
    """Checkpoint name → GGUF name of every tensor; a head is there only to be found equal to the embedding."""
    return decoder.names(decoder.count(values, GGUF, "block_count"), gemma.LAYER)


def transforms(values: Mapping[str, Any]) -> dict[str, Transform]:
    """Checkpoint name → what becomes of the tensor, for those that are not copied."""
    return gemma.transforms(values, GGUF, tensor_names(values), "q_proj")


def made_tensors(config: Mapping[str, Any]) -> dict[str, Floats]:
    """None: all follows from the keys."""
    return {}
