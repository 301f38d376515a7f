"""Small random Llama checkpoints, tokenizers and adapters, written with numpy alone.

The numbers come from Philox's raw bits, which numpy promises never to change, so a committed fixture of
another library's results on them stays valid.
"""

import json
import struct
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, FFN, LAYERS = 256, 4, 2, 64, 512, 2
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\u00e9\r\n"
)
_TEXT = [
    "the reset token takes back what was said",
    "a small model of the world, in 1234 numbers",
    "Größe日本",
]


def numbers(seed, *shape, scale=0.06):
    """Uniform numbers with mean 0 and about the standard deviation `scale`."""
    bits = np.random.Philox(key=seed).random_raw(int(np.prod(shape)))
    return ((bits / 2.0**64 - 0.5) * scale * 12**0.5).astype(np.float32).reshape(shape)


def to_bf16(values):
    return ((values.view(np.uint32) + 0x7FFF + ((values.view(np.uint32) >> 16) & 1)) >> 16).astype("<u2")


def from_bf16(values):
    return (values.astype(np.uint32) << 16).view(np.float32)


def safetensors_bytes(tensors):
    """`tensors`: name → float32 array, or a uint16 array that is meant as BF16."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in tensors.items():
        raw = array.tobytes()
        dtype = "BF16" if array.dtype == np.uint16 else "F32"
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def llama_tensors(vocab, *, tied, bf16=False):
    """Checkpoint name → array."""
    shapes = {"model.embed_tokens.weight": (vocab, HIDDEN), "model.norm.weight": (HIDDEN,)}
    if not tied:
        shapes["lm_head.weight"] = (vocab, HIDDEN)
    for i in range(LAYERS):
        layer = {
            "self_attn.q_proj": (HEADS * HEAD_DIM, HIDDEN),
            "self_attn.k_proj": (KV_HEADS * HEAD_DIM, HIDDEN),
            "self_attn.v_proj": (KV_HEADS * HEAD_DIM, HIDDEN),
            "self_attn.o_proj": (HIDDEN, HEADS * HEAD_DIM),
            "mlp.gate_proj": (FFN, HIDDEN),
            "mlp.up_proj": (FFN, HIDDEN),
            "mlp.down_proj": (HIDDEN, FFN),
            "input_layernorm": (HIDDEN,),
            "post_attention_layernorm": (HIDDEN,),
        }
        shapes |= {f"model.layers.{i}.{name}.weight": shape for name, shape in layer.items()}
    tensors = {name: numbers(i + 1, *shape) for i, (name, shape) in enumerate(shapes.items())}
    tensors = {name: array + 1 if "norm" in name else array for name, array in tensors.items()}
    return {name: to_bf16(array) for name, array in tensors.items()} if bf16 else tensors


def tokenizer_bytes(*, reset=True, reset_special=True):
    """A byte-level BPE tokenizer with SmolLM2's pre-tokenizer and its special tokens, ids 0 to 2."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT * 4, trainer)
    if reset:
        tokenizer.add_tokens([AddedToken("[RESET]", special=reset_special, normalized=False)])
    return tokenizer.to_str().encode(), tokenizer.get_vocab_size()


def write_checkpoint(
    folder, *, tied=True, bf16=False, reset=True, rows=320, rope=None, shards=1, reset_special=True
):
    """Write a checkpoint whose embedding is padded to `rows`, and return its tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer, size = tokenizer_bytes(reset=reset, reset_special=reset_special)
    rows = rows or size
    tensors = llama_tensors(rows, tied=tied, bf16=bf16)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": FFN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "rope_parameters": rope or {"rope_type": "default", "rope_theta": 10000.0},
        "tie_word_embeddings": tied,
        "vocab_size": rows,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    settings = {
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "unk_token": {"content": "<|endoftext|>"},
    }
    _json(folder / "config.json", config)
    _json(folder / "tokenizer_config.json", settings | {"pad_token": "<|im_end|>"})
    (folder / "tokenizer.json").write_bytes(tokenizer)
    (folder / "chat_template.jinja").write_bytes(TEMPLATE.encode())
    if shards == 1:
        (folder / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    else:
        places = {name: f"model-{i % shards}.safetensors" for i, name in enumerate(tensors)}
        for shard in set(places.values()):
            part = {name: array for name, array in tensors.items() if places[name] == shard}
            (folder / shard).write_bytes(safetensors_bytes(part))
        _json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})
    return tensors


def write_record(folder, **changes):
    record = {
        "schema_version": 1,
        "reset_token": "[RESET]",
        "method": "sft",
        "after_reset": "rewind",
        "reset_bias": -3.25,
        "hold_back": 24,
        "calibrated": True,
        "calibrated_type": "q8_0",
        "training": {"steps": 3},
    }
    _json(folder / "backtrack.json", record | changes)


def write_adapter(folder, token_id, *, rank=8, config=None, extra=None, untied=False):
    """Write a LoRA adapter of every linear layer and one new row, and return its tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {name: a.shape for name, a in llama_tensors(16, tied=True).items() if "proj" in name}
    tensors = {}
    for i, (name, (rows, width)) in enumerate(shapes.items()):
        start = "base_model.model." + name.removesuffix("weight")
        tensors[start + "lora_A.weight"] = to_bf16(numbers(100 + i, rank, width))
        tensors[start + "lora_B.weight"] = to_bf16(numbers(200 + i, rows, rank))
    row = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"
    tensors[row] = to_bf16(numbers(300, 1, HIDDEN))
    indices = {"embed_tokens": [token_id]}
    if untied:
        indices["lm_head"] = [token_id]
        tensors["base_model.model.lm_head.token_adapter.trainable_tokens_delta"] = to_bf16(
            numbers(301, 1, HIDDEN)
        )
    tensors |= extra or {}
    settings = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": 2 * rank,
        "bias": "none",
        "trainable_token_indices": indices,
        "target_modules": ["q_proj"],
    }
    _json(folder / "adapter_config.json", settings | (config or {}))
    (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes(tensors))
    return tensors


def _json(path: Path, value):
    path.write_text(json.dumps(value), encoding="utf-8")
