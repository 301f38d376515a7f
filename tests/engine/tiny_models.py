"""Tiny models with random weights, of every kind of memory: plain, sliding window, recurrent, and hybrid.

What they say means nothing. But they run through llama.cpp's own code for a sliding window and for a
recurrent state, so going back in their memory is as it is in large ones.
"""

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

WIDTH, LAYERS, WINDOW = 64, 2, 16
INNER, STATE, RANK = 2 * WIDTH, 16, 4
CHUNK = 64
"""Of a prompt, in tokens: the cells of a sliding window are then 256."""
CHAT = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}<s>assistant:"
WORDS = ["▁", "▁a", "▁the", "▁sea", "a", "e", "s", "t", "h", "▁s", "he", "th", "the", "ea", "sea", "[RESET]"]


def write_dense_model(path: Path, add_vocabulary: Callable[[gguf.GGUFWriter], int] | None = None) -> Path:
    """A Llama of two layers, whose memory can be truncated anywhere; perhaps with another vocabulary."""
    add_vocabulary = add_vocabulary or _add_words
    writer = _begin(path, "llama", vocabulary=False)
    size = add_vocabulary(writer)
    writer.add_feed_forward_length(2 * WIDTH)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(32)
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(LAYERS):
        shapes |= _attention(layer) | _feed_forward(layer)
    return _end(writer, shapes, path, size)


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
        shapes |= _attention(layer) | _feed_forward(layer)
    return _end(writer, shapes, path)


def write_recurrent_model(path: Path) -> Path:
    """A Mamba of two layers."""
    writer = _begin(path, "mamba")
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_layer_norm_rms_eps(1e-5)
    _add_state_space(writer)
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(LAYERS):
        shapes |= {f"blk.{layer}.attn_norm.weight": (WIDTH,), **_state_space(layer)}
    return _end(writer, shapes, path)


def write_hybrid_model(path: Path) -> Path:
    """A Jamba of two layers: the first is Mamba's, the second attends."""
    writer = _begin(path, "jamba")
    writer.add_feed_forward_length(2 * WIDTH)
    writer.add_head_count(2)
    writer.add_head_count_kv([0, 1])
    writer.add_layer_norm_rms_eps(1e-5)
    _add_state_space(writer)
    shapes = {
        "blk.0.attn_norm.weight": (WIDTH,),
        "blk.0.ssm_dt_norm.weight": (RANK,),
        "blk.0.ssm_b_norm.weight": (STATE,),
        "blk.0.ssm_c_norm.weight": (STATE,),
    }
    return _end(writer, shapes | _state_space(0) | _feed_forward(0) | _attention(1) | _feed_forward(1), path)


def write_convolution_model(path: Path) -> Path:
    """An LFM2 of two layers: a short convolution, and attention that slides over 16 tokens."""
    writer = _begin(path, "lfm2")
    writer.add_feed_forward_length(2 * WIDTH)
    writer.add_head_count(2)
    writer.add_head_count_kv([0, 1])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_shortconv_l_cache(3)
    writer.add_sliding_window(WINDOW)
    shapes = {
        "token_embd_norm.weight": (WIDTH,),
        "blk.0.attn_norm.weight": (WIDTH,),
        "blk.0.shortconv.conv.weight": (WIDTH, 3),
        "blk.0.shortconv.in_proj.weight": (3 * WIDTH, WIDTH),
        "blk.0.shortconv.out_proj.weight": (WIDTH, WIDTH),
        "blk.1.attn_q_norm.weight": (32,),
        "blk.1.attn_k_norm.weight": (32,),
    }
    return _end(writer, shapes | _feed_forward(0) | _attention(1) | _feed_forward(1), path)


def _attention(layer: int) -> dict[str, tuple[int, ...]]:
    return {
        f"blk.{layer}.attn_norm.weight": (WIDTH,),
        f"blk.{layer}.attn_q.weight": (WIDTH, WIDTH),
        f"blk.{layer}.attn_k.weight": (32, WIDTH),
        f"blk.{layer}.attn_v.weight": (32, WIDTH),
        f"blk.{layer}.attn_output.weight": (WIDTH, WIDTH),
    }


def _feed_forward(layer: int) -> dict[str, tuple[int, ...]]:
    return {
        f"blk.{layer}.ffn_norm.weight": (WIDTH,),
        f"blk.{layer}.ffn_gate.weight": (2 * WIDTH, WIDTH),
        f"blk.{layer}.ffn_up.weight": (2 * WIDTH, WIDTH),
        f"blk.{layer}.ffn_down.weight": (WIDTH, 2 * WIDTH),
    }


def _add_state_space(writer: gguf.GGUFWriter) -> None:
    writer.add_ssm_conv_kernel(4)
    writer.add_ssm_inner_size(INNER)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_time_step_rank(RANK)


def _state_space(layer: int) -> dict[str, tuple[int, ...]]:
    return {
        f"blk.{layer}.ssm_in.weight": (2 * INNER, WIDTH),
        f"blk.{layer}.ssm_conv1d.weight": (INNER, 4),
        f"blk.{layer}.ssm_conv1d.bias": (INNER,),
        f"blk.{layer}.ssm_x.weight": (RANK + 2 * STATE, INNER),
        f"blk.{layer}.ssm_dt.weight": (INNER, RANK),
        f"blk.{layer}.ssm_dt.bias": (INNER,),
        f"blk.{layer}.ssm_a": (INNER, STATE),
        f"blk.{layer}.ssm_d": (INNER,),
        f"blk.{layer}.ssm_out.weight": (WIDTH, INNER),
    }


def _begin(path: Path, architecture: str, *, vocabulary: bool = True) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(f"Tiny {architecture}")
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_chat_template(CHAT)
    if vocabulary:
        _add_words(writer)
    return writer


def _add_words(writer: gguf.GGUFWriter) -> int:
    """A sentencepiece vocabulary that puts a space before each text; returns its size."""
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
    return len(tokens)


def _end(
    writer: gguf.GGUFWriter,
    shapes: dict[str, tuple[int, ...]],
    path: Path,
    vocabulary: int = 3 + 256 + len(WORDS),
) -> Path:
    random = np.random.default_rng(1)
    first: dict[str, tuple[int, ...]] = {"token_embd.weight": (vocabulary, WIDTH)}
    if "token_embd_norm.weight" not in shapes:
        first["output_norm.weight"] = (WIDTH,)
    shapes = first | shapes
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


KINDS: dict[str, tuple[Callable[[Path], Path], bool]] = {
    "dense": (write_dense_model, False),
    "window": (write_window_model, False),
    "window, swa_full": (write_window_model, True),
    "recurrent": (write_recurrent_model, False),
    "hybrid": (write_hybrid_model, False),
    "hybrid with a window": (write_convolution_model, False),
    "hybrid with a window, swa_full": (write_convolution_model, True),
}
"""How each kind of memory is made, and whether it keeps all of its sliding window (`swa_full`)."""
