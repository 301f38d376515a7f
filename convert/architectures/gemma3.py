"""Gemma 3's text models: Gemma 2 without soft caps, with norms of q and k and a rope base for each kind of layer."""

from collections.abc import Mapping
from typing import Any

from convert import decoder, gemma
from convert.errors import TakebackError
from convert.gguf_header import TypedValue
from convert.numbers import Floats
from convert.transform import Transform

NAMES = {"Gemma3ForCausalLM": "gemma3_text"}
GGUF = "gemma3"
OPTIONAL = ("lm_head.weight",)
OWN_HEAD = True

_LAYER = gemma.LAYER | {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
_LAYERS_OF_27B = 62
_PERIOD = 6
_WINDOW = 4096
_BASE, _SLIDING_BASE = 1_000_000.0, 10_000.0


def hyper_parameters(config: Mapping[str, Any]) -> dict[str, TypedValue]:
    """The `gemma3.*` metadata of a config.json. A rope scaling is that of the layers that see all."""
    values = gemma.counts(config, _LAYERS_OF_27B)
    full = decoder.rope({"rope_theta": _BASE, **config}, ("default", "linear"), "full_attention")
    values |= decoder.rope_values(full)
    if config.get("attn_logit_softcapping") is not None:
        raise TakebackError(
            "config.json: attn_logit_softcapping is set, which llama.cpp's gemma3 does not know"
        )
    if config.get("final_logit_softcapping") is not None:
        values["final_logit_softcapping"] = decoder.number(config, "final_logit_softcapping", None)
    period = gemma.sliding_period(config, _PERIOD)
    if period is not None:
        values["attention.sliding_window"] = decoder.whole(config, "sliding_window", _WINDOW)
        values["rope.freq_base_swa"] = _sliding_base(config)
        if period != _PERIOD:
            values["attention.sliding_window_pattern"] = period
    return decoder.metadata(GGUF, values)


def _sliding_base(config: Mapping[str, Any]) -> float:
    """The rope base of the layers that slide; transformers 4 has a key of its own for it."""
    both = config.get("rope_parameters")
    if isinstance(both, dict) and isinstance(both.get("sliding_attention"), dict):
        return decoder.number(decoder.rope(config, ("default",), "sliding_attention"), "rope_theta", None)
    return decoder.number(config, "rope_local_base_freq", _SLIDING_BASE)


def tensor_names(values: Mapping[str, Any]) -> dict[str, str]:
    """Checkpoint name → GGUF name of every tensor."""
    return decoder.names(decoder.count(values, GGUF, "block_count"), _LAYER)


def transforms(values: Mapping[str, Any]) -> dict[str, Transform]:
    """Checkpoint name → what becomes of the tensor, for those that are not copied."""
    return gemma.transforms(
        values, GGUF, tensor_names(values), "q_norm"
    )  # which would undo a factor before it


def made_tensors(config: Mapping[str, Any]) -> dict[str, Floats]:
    """None: all follows from the keys."""
    return {}
