"""The model families that can be converted, one module each, and how to find the right one.

Every family's module has the same names: `GGUF` (what llama.cpp calls it), `hyper_parameters`,
`tensor_names`, `transforms` and `made_tensors`. All but the first are functions; `tensor_names` and
`transforms` take the hyper-parameters as GGUF metadata, so they serve a checkpoint and a GGUF source alike.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from convert.architectures import llama
from convert.errors import TakebackError
from convert.untrusted import clean_line

FAMILIES: Mapping[str, ModuleType] = {"LlamaForCausalLM": llama}
"""By the first of config.json's `architectures`."""

_MODEL_TYPES = {"llama": "LlamaForCausalLM"}


def family_of_config(config: Mapping[str, Any]) -> ModuleType:
    """The family of a checkpoint's config.json; TakebackError lists the known ones."""
    named = config.get("architectures")
    name = named[0] if isinstance(named, list) and named else _MODEL_TYPES.get(str(config.get("model_type")))
    family = FAMILIES.get(name) if isinstance(name, str) else None
    if family is None:
        raise TakebackError(
            f"the architecture {clean_line(str(name or config.get('model_type'))[:80])} cannot be converted; "
            f"known: {', '.join(sorted(FAMILIES))}"
        )
    return family


def family_of_gguf(architecture: object) -> ModuleType:
    """The family of a GGUF file's general.architecture; TakebackError lists the known ones."""
    for family in FAMILIES.values():
        if architecture == family.GGUF:
            return family
    raise TakebackError(
        f"no adapter can be merged into a GGUF file of architecture {clean_line(str(architecture)[:80])}; "
        f"known: {', '.join(sorted(family.GGUF for family in FAMILIES.values()))}"
    )
