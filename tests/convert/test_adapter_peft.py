"""The merge of every kind of adapter, against PEFT's own merge of the same files."""

import json
import shutil

import numpy as np
import pytest

from convert.convert import convert
from convert.errors import TakebackError
from convert.verify import verify
from tests.convert.small_model import HEAD_DIM, write_checkpoint
from tests.convert.test_convert import values

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
CLOSE = 2e-6
CASES = {
    "lora": {"lora_alpha": 16},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "dora and rslora": {"use_dora": True, "use_rslora": True, "lora_alpha": 3},
    "patterns": {
        "rank_pattern": {"q_proj": 4, r"layers\.1\.mlp\.(up|down)_proj": 2},
        "alpha_pattern": {"k_proj": 5, "model.layers.0.self_attn.q_proj": 32, "^up_proj": 1},
    },
    "dora and patterns": {"use_dora": True, "rank_pattern": {"q_proj": 4}, "alpha_pattern": {"q_proj": 5}},
    "fan_in_fan_out": {"fan_in_fan_out": True},
    "rows": {"trainable_token_indices": {"embed_tokens": [7, 300], "lm_head": [7, 300]}},
    "dora and rows": {"use_dora": True, "trainable_token_indices": {"embed_tokens": [300], "lm_head": [300]}},
    "whole modules": {"modules_to_save": ["norm", "embed_tokens", "lm_head"]},
    "an embedding's change": {"target_modules": [*LINEAR, "embed_tokens", "lm_head"]},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Untied, float32, with [RESET] as its last token, 300, and padded to 320 rows."""
    folder = tmp_path_factory.mktemp("base")
    write_checkpoint(folder, tied=False)
    return folder


def shaken(model, folder):
    """Give the adapter's tensors values that show, save them, and give PEFT's merged weights."""
    torch.manual_seed(5)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            with torch.no_grad():
                size = 0.2 if "magnitude" in name else 0.05
                parameter.copy_(parameter + size * torch.rand_like(parameter))
    model.save_pretrained(folder)
    return {name: tensor.numpy() for name, tensor in model.merge_and_unload().state_dict().items()}


def loaded(folder):
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)


def in_our_names(merged):
    ours = {"model.embed_tokens": "token_embd", "lm_head": "output", "model.norm": "output_norm"}
    parts = {
        **{f"self_attn.{x}_proj": f"attn_{x}" for x in "qkv"},
        **{f"mlp.{x}_proj": f"ffn_{x}" for x in ("gate", "up", "down")},
        "self_attn.o_proj": "attn_output",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    for i in (0, 1):
        ours |= {f"model.layers.{i}.{theirs}": f"blk.{i}.{name}" for theirs, name in parts.items()}
    return {ours[name.removesuffix(".weight")] + ".weight": array for name, array in merged.items()}


def apart(weight):
    """llama.cpp's row order of q and k, back to transformers'."""
    heads = len(weight) // HEAD_DIM
    return weight.reshape(heads, HEAD_DIM // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)


def assert_same(out, merged):
    found = values(out)
    expected = in_our_names(merged)
    if "output.weight" not in found:
        assert np.array_equal(expected.pop("output.weight"), expected["token_embd.weight"])
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        mine = apart(weight) if "attn_q" in name or "attn_k" in name else weight
        assert np.abs(mine - expected[name]).max() < CLOSE, name


@pytest.mark.parametrize("case", CASES)
def test_the_merge_is_peft_s_own(tmp_path, base, case):
    settings = {"task_type": "CAUSAL_LM", "r": 8, "target_modules": list(LINEAR), **CASES[case]}
    model = peft.get_peft_model(loaded(base), peft.LoraConfig(**settings))
    merged = shaken(model, tmp_path / "a")
    if case == "fan_in_fan_out":  # PEFT sets it back as it begins; a file may hold it all the same
        path = tmp_path / "a" / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"fan_in_fan_out": True}))
        again = peft.PeftModel.from_pretrained(loaded(base), tmp_path / "a").merge_and_unload()
        assert all(np.array_equal(again.state_dict()[name].numpy(), merged[name]) for name in merged)
    convert(base, tmp_path / "base.gguf", type="f32")
    for source in (base, tmp_path / "base.gguf"):
        convert(source, tmp_path / "out.gguf", adapter=tmp_path / "a", type="f32", force=True)
        assert_same(tmp_path / "out.gguf", merged)
        assert not [c for c in verify(tmp_path / "out.gguf", source, tmp_path / "a") if c.verdict == "fail"]
    unchanged = values(tmp_path / "base.gguf")
    moved = [
        name
        for name, array in values(tmp_path / "out.gguf").items()
        if not np.array_equal(array, unchanged[name])
    ]
    assert len(moved) >= 14, "the adapter shows in every matrix"


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_a_resized_embedding_comes_with_the_adapter(tmp_path, tied, whole):
    """The new token's rows lie behind the base's last; PEFT saves both matrices whole."""
    write_checkpoint(tmp_path / "base", tied=tied, reset=False, rows=None)
    write_checkpoint(tmp_path / "named", tied=tied, reset=True, rows=None)
    model = loaded(tmp_path / "base")
    torch.manual_seed(1)
    model.resize_token_embeddings(301, mean_resizing=False)
    settings = {"task_type": "CAUSAL_LM", "r": 8, "target_modules": list(LINEAR)}
    if whole:
        settings |= {"modules_to_save": ["embed_tokens"] if tied else ["embed_tokens", "lm_head"]}
        settings |= {"ensure_weight_tying": tied}
    merged = shaken(peft.get_peft_model(model, peft.LoraConfig(**settings)), tmp_path / "a")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tmp_path / "named" / name, tmp_path / "a" / name)
    report = convert(tmp_path / "base", tmp_path / "out.gguf", adapter=tmp_path / "a", type="f32")
    assert report.contract.token_id == 300
    assert_same(tmp_path / "out.gguf", merged)


def test_what_peft_merges_and_we_do_not_is_refused_by_name(tmp_path, base):
    cases = {
        "use_dora on model.embed_tokens": {"use_dora": True, "target_modules": ["q_proj", "embed_tokens"]},
        "lora_bias": {"lora_bias": True, "bias": "none"},
        "bias": {"bias": "lora_only"},
        "init_lora_weights=pissa": {"init_lora_weights": "pissa"},
    }
    for why, settings in cases.items():
        given = {"task_type": "CAUSAL_LM", "r": 8, "target_modules": ["q_proj"], **settings}
        model = peft.get_peft_model(loaded(base), peft.LoraConfig(**given))
        model.save_pretrained(tmp_path / "a")
        with pytest.raises(TakebackError, match=why):
            convert(base, tmp_path / "out.gguf", adapter=tmp_path / "a", force=True)
        shutil.rmtree(tmp_path / "a")
