"""The model families that can be converted, one module each, and how to find the right one.

A family is a file here and is found by that alone. Every family's module has the same names:

- `NAMES`: config.json's architecture → its model_type, and `GGUF`: what llama.cpp calls it;
- `OPTIONAL`: how the names of those tensors end that a checkpoint may lack;
- `OWN_HEAD`: whether llama.cpp takes a head that is not the embedding;
- `hyper_parameters(config)`: the metadata of a config.json;
- `tensor_names(values)` and `transforms(values)`: which tensor becomes which, and what is changed in it. They
  take the hyper-parameters as plain GGUF metadata, so they serve a checkpoint and a GGUF source alike;
- `made_tensors(config)`: the tensors that only the config holds.
"""

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from convert.errors import TakebackError
from convert.untrusted import clean_line

_MODULES = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]
FAMILIES: Mapping[str, ModuleType] = {name: module for module in _MODULES for name in module.NAMES}
"""By the first of config.json's `architectures`."""
_MODEL_TYPES = {kind: name for module in _MODULES for name, kind in module.NAMES.items()}
_GGUF_NAMES: Mapping[str, ModuleType] = {module.GGUF: module for module in reversed(_MODULES)}


def family_of_config(config: Mapping[str, Any]) -> ModuleType:
    """The family of a checkpoint's config.json; TakebackError lists the known ones."""
    named = config.get("architectures")
    name = named[0] if isinstance(named, list) and named else _MODEL_TYPES.get(str(config.get("model_type")))
    family = FAMILIES.get(name) if isinstance(name, str) else None
    if family is None:
        raise TakebackError(
            f"the architecture {clean_line(str(name or config.get('model_type'))[:80])} cannot be converted; "
            f"known: {', '.join(sorted(FAMILIES))}; --upstream asks llama.cpp's own converter, which knows more"
        )
    return family


def is_known(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint of this config.json can be converted here."""
    try:
        family_of_config(config).hyper_parameters(config)
    except TakebackError:
        return False
    return True


def known_gguf(architecture: object) -> ModuleType | None:
    """The family of a GGUF file's general.architecture, or None."""
    return _GGUF_NAMES.get(architecture) if isinstance(architecture, str) else None


def family_of_gguf(architecture: object) -> ModuleType:
    """The family of a GGUF file's general.architecture; TakebackError lists the known ones."""
    family = known_gguf(architecture)
    if family is None:
        raise TakebackError(
            f"no adapter can be merged into a GGUF file of architecture {clean_line(str(architecture)[:80])}; "
            f"known: {', '.join(sorted(_GGUF_NAMES))}"
        )
    return family
