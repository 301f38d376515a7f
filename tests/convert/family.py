"""Tiny checkpoints of any family: by numpy for the tests without torch, by transformers for the proofs with it."""

import json

import numpy as np

from convert.convert import convert
from convert.gguf_header import read_header
from convert.verify import verify
from tests.convert.llama_logits import logits
from tests.convert.sentencepiece_tokenizer import sentencepiece_tokenizer
from tests.convert.small_model import TEMPLATE, numbers, safetensors_bytes, tokenizer_bytes

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, FFN = 64, 4, 2, 16, 96
ROWS = 640
SETTINGS = {"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>", "pad_token": "</s>"}
IDS = [1, 40, 7, 99, 250, 3, 17, 301, 2, 5, 77, 560, 41, 9, 420, 33] * 4
"""More tokens than the tiny models' sliding windows hold, so that one which is not there would show."""


def sizes(**changes):
    """What every tiny config has."""
    return {
        "hidden_size": HIDDEN,
        "intermediate_size": FFN,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "vocab_size": ROWS,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    } | changes


def layer_shapes(head_dim=HEAD_DIM):
    """Module → shape of its weight, of one layer like Llama's."""
    return {
        "input_layernorm": (HIDDEN,),
        "self_attn.q_proj": (HEADS * head_dim, HIDDEN),
        "self_attn.k_proj": (KV_HEADS * head_dim, HIDDEN),
        "self_attn.v_proj": (KV_HEADS * head_dim, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HEADS * head_dim),
        "post_attention_layernorm": (HIDDEN,),
        "mlp.gate_proj": (FFN, HIDDEN),
        "mlp.up_proj": (FFN, HIDDEN),
        "mlp.down_proj": (HIDDEN, FFN),
    }


def shapes(layers, layer, *, tied=True, biases=()):
    """Checkpoint name → shape; `biases` are the modules that have one."""
    found = {"model.embed_tokens.weight": (ROWS, HIDDEN), "model.norm.weight": (HIDDEN,)}
    if not tied:
        found["lm_head.weight"] = (ROWS, HIDDEN)
    for i in range(layers):
        for module, shape in layer.items():
            found[f"model.layers.{i}.{module}.weight"] = shape
            if module in biases:
                found[f"model.layers.{i}.{module}.bias"] = shape[:1]
    return found


def write_tokenizer(folder, tokenizer=None):
    """SentencePiece's kind unless another one's bytes are given; with [RESET] in both."""
    given = tokenizer or sentencepiece_tokenizer(added=[reset()])[0]
    (folder / "tokenizer.json").write_bytes(given)
    (folder / "tokenizer_config.json").write_text(json.dumps(SETTINGS))
    (folder / "chat_template.jinja").write_text(TEMPLATE)


def reset():
    from tokenizers import AddedToken

    return AddedToken("[RESET]", special=True, normalized=False)


def byte_level():
    return tokenizer_bytes()[0]


def write_family(folder, config, tensors_shapes, tokenizer=None):
    """Write a checkpoint of random numbers and return its tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: numbers(i + 1, *shape, scale=0.2) for i, (name, shape) in enumerate(tensors_shapes.items())
    }
    (folder / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder, tokenizer)
    return tensors


def converted(folder, **arguments):
    """Convert to F32 and prove the file; its metadata, and where it is."""
    out = folder.parent / f"{folder.name}.gguf"
    convert(folder, out, type="f32", force=True)
    failed = [check for check in verify(out, folder, **arguments) if check.verdict == "fail"]
    assert not failed, failed
    found = logits(out, IDS)
    assert np.isfinite(found).all()
    assert np.ptp(found) > 0
    return out, read_header(out).metadata


def transformers_checkpoint(folder, config, tokenizer=None):
    """Save a random model of transformers, every number far from its beginning; its logits after IDS."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape) * (0.3 if parameter.dim() == 1 else 0.15))
            if parameter.dim() == 1 and "norm" in name and "Gemma" not in type(model).__name__:
                parameter.add_(1)
        expected = model(torch.tensor([IDS])).logits[0].numpy()
    model.save_pretrained(folder)
    write_tokenizer(folder, tokenizer)
    return model, expected


def compare(folder, expected, tolerance):
    """Convert, and hold llama.cpp's logits against transformers'; the largest difference, relative."""
    out, _ = converted(folder)
    found = logits(out, IDS)
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error < tolerance, error
    return out, error
