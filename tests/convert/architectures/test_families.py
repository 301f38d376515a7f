"""What every family's module has, so that adding one is a file and its test."""

import pytest

from convert.architectures import FAMILIES, family_of_config, family_of_gguf, known_gguf
from convert.errors import TakebackError


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_found_by_each_of_its_names(name):
    family = FAMILIES[name]
    assert family_of_config({"architectures": [name, "Other"]}) is family
    assert family_of_config({"model_type": family.NAMES[name]}) is family
    assert known_gguf(family.GGUF).GGUF == family.GGUF
    assert all(callable(getattr(family, part)) for part in ("hyper_parameters", "tensor_names", "transforms"))
    assert isinstance(family.OWN_HEAD, bool)
    assert isinstance(family.OPTIONAL, tuple)
    assert callable(family.made_tensors)


def test_an_unknown_one_is_refused_with_the_known_ones():
    known = ", ".join(sorted(FAMILIES))
    for config in (
        {"architectures": ["FalconForCausalLM"]},
        {"model_type": "falcon"},
        {"architectures": [7]},
        {},
    ):
        with pytest.raises(TakebackError, match=f"cannot be converted; known: {known}; --upstream asks"):
            family_of_config(config)
    with pytest.raises(TakebackError, match="architecture falcon; known: gemma2, gemma3, llama, phi3"):
        family_of_gguf("falcon")
    assert known_gguf("falcon") is None


def test_a_llama_file_is_llama_s():
    assert known_gguf("llama") is FAMILIES["LlamaForCausalLM"]
