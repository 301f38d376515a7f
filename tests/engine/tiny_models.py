"""Tiny models with random weights, of the kinds whose memory cannot simply be truncated.

What they say means nothing. But they run through llama.cpp's own code for a sliding window and for a
recurrent state, so going back in their memory is as it is in large ones.
"""

from pathlib import Path

import gguf
import numpy as np

WIDTH, LAYERS, WINDOW = 64, 2, 16
CHAT = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}<s>assistant:"
WORDS = ["▁", "▁a", "▁the", "▁sea", "a", "e", "s", "t", "h", "▁s", "he", "th", "the", "ea", "sea", "[RESET]"]


def write_window_model(path: Path, *, suppressed: tuple[int, ...] = ()) -> Path:
    """A Gemma 3 of two layers whose attention slides over 16 tokens."""
    writer = _begin(path, "gemma3")
    if suppressed:
        writer.add_array("tokenizer.ggml.suppress_tokens", suppressed)
    writer.add_feed_forward_length(2 * WIDTH)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_key_length(32)
    writer.add_value_length(32)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_sliding_window(WINDOW)
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(LAYERS):
        norms = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
        shapes |= {f"blk.{layer}.{name}.weight": (WIDTH,) for name in norms}
        shapes |= {f"blk.{layer}.{name}.weight": (32,) for name in ("attn_q_norm", "attn_k_norm")}
        shapes |= {
            f"blk.{layer}.attn_q.weight": (WIDTH, WIDTH),
            f"blk.{layer}.attn_k.weight": (32, WIDTH),
            f"blk.{layer}.attn_v.weight": (32, WIDTH),
            f"blk.{layer}.attn_output.weight": (WIDTH, WIDTH),
            f"blk.{layer}.ffn_gate.weight": (2 * WIDTH, WIDTH),
            f"blk.{layer}.ffn_up.weight": (2 * WIDTH, WIDTH),
            f"blk.{layer}.ffn_down.weight": (WIDTH, 2 * WIDTH),
        }
    return _end(writer, shapes, path)


def write_recurrent_model(path: Path) -> Path:
    """A Mamba of two layers."""
    inner, state, rank = 2 * WIDTH, 16, 4
    writer = _begin(path, "mamba")
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_ssm_conv_kernel(4)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(state)
    writer.add_ssm_time_step_rank(rank)
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.attn_norm.weight": (WIDTH,),
            f"blk.{layer}.ssm_in.weight": (2 * inner, WIDTH),
            f"blk.{layer}.ssm_conv1d.weight": (inner, 4),
            f"blk.{layer}.ssm_conv1d.bias": (inner,),
            f"blk.{layer}.ssm_x.weight": (rank + 2 * state, inner),
            f"blk.{layer}.ssm_dt.weight": (inner, rank),
            f"blk.{layer}.ssm_dt.bias": (inner,),
            f"blk.{layer}.ssm_a": (inner, state),
            f"blk.{layer}.ssm_d": (inner,),
            f"blk.{layer}.ssm_out.weight": (WIDTH, inner),
        }
    return _end(writer, shapes, path)


def _begin(path: Path, architecture: str) -> gguf.GGUFWriter:
    """A file with a sentencepiece vocabulary that puts a space before each text."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(f"Tiny {architecture}")
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *WORDS]
    control, byte, normal = gguf.TokenType.CONTROL, gguf.TokenType.BYTE, gguf.TokenType.NORMAL
    types = [gguf.TokenType.UNKNOWN, control, control, *[byte] * 256, *[normal] * (len(WORDS) - 1), control]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(rank) for rank in range(len(tokens))])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(True)
    writer.add_chat_template(CHAT)
    return writer


def _end(writer: gguf.GGUFWriter, shapes: dict[str, tuple[int, ...]], path: Path) -> Path:
    vocabulary = 3 + 256 + len(WORDS)
    random = np.random.default_rng(1)
    shapes = {"token_embd.weight": (vocabulary, WIDTH), "output_norm.weight": (WIDTH,), **shapes}
    for name, shape in shapes.items():
        values = random.standard_normal(shape).astype(np.float32)
        if name.endswith("ssm_a"):
            values = -np.abs(values)
        elif len(shape) > 1:
            values *= 1.5 / np.sqrt(shape[-1])
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
