"""The converted file computes what transformers computes."""

import numpy as np
import pytest

from convert.convert import convert
from tests.convert.llama_logits import logits
from tests.convert.make_logits_fixture import CASES, FIXTURE, IDS, transformers_logits
from tests.convert.small_model import write_checkpoint

TOLERANCE = 2e-5
"""Of logits up to 4; float32 sums in another order differ by about 3e-6 here."""


def of_file(tmp_path, **arguments):
    write_checkpoint(tmp_path / "c", **arguments)
    convert(tmp_path / "c", tmp_path / "out.gguf", type="f32", force=True)
    return logits(tmp_path / "out.gguf", IDS)


@pytest.mark.parametrize("case", CASES)
def test_logits_are_transformers_own(tmp_path, case):
    expected = np.load(FIXTURE)[case]
    assert np.abs(of_file(tmp_path, **CASES[case])[-4:] - expected).max() < TOLERANCE


def test_the_fixture_can_tell_the_rope_scaling(tmp_path):
    """Without the scaling's tensor the comparison above would fail by far."""
    expected = np.load(FIXTURE)["untied_llama3"]
    assert np.abs(of_file(tmp_path, tied=False)[-4:] - expected).max() > 100 * TOLERANCE


def test_logits_of_bfloat16_and_q8_0_are_near(tmp_path):
    exact = of_file(tmp_path)
    for file_type, limit in (("bf16", 0.05), ("q8_0", 0.2), ("q4_k_m", 2.0)):
        convert(tmp_path / "c", tmp_path / "out.gguf", type=file_type, force=True)
        assert np.abs(logits(tmp_path / "out.gguf", IDS) - exact).max() < limit, file_type


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_transformers_here(tmp_path, case):
    pytest.importorskip("torch")
    found = of_file(tmp_path, **CASES[case])
    assert np.abs(found - transformers_logits(tmp_path / "c", IDS)).max() < TOLERANCE


@pytest.mark.slow
def test_logits_of_smollm2(tmp_path, real_base):
    """SmolLM2 read by transformers from its GGUF file, saved, converted back, and computed by both."""
    pytest.importorskip("torch")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    torch.set_num_threads(1)
    loaded = AutoModelForCausalLM.from_pretrained(
        real_base.parent, gguf_file=real_base.name, dtype=torch.float32
    )
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = LlamaForCausalLM(config)
    model.load_state_dict(loaded.state_dict())
    folder = tmp_path / "smollm2"
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(real_base.parent, gguf_file=real_base.name).save_pretrained(folder)
    convert(folder, tmp_path / "out.gguf", type="f32")
    ids = [1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308]
    expected = transformers_logits(folder, ids)
    found = logits(tmp_path / "out.gguf", ids)
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()
