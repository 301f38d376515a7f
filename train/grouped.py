"""Attention for sampling in large batches on a CPU: grouped heads read the cache where it lies.

transformers' own path repeats keys and values for every query head at every step, and its growing cache copies
them once more; on a CPU that traffic, not the arithmetic, then sets the speed.
"""

from __future__ import annotations

from typing import Any

from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

NAME = "grouped"
PLAIN = ("llama", "mistral", "qwen2", "qwen3", "granite")
"""The families that it is right for. Others cap their scores (Gemma 2) or add to them, which it does not."""


def attention(
    module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float, **_: Any
) -> tuple[Any, None]:
    """query [b, h, t, d], key and value [b, g, s, d] with h a multiple of g; returns ([b, t, h, d], None)."""
    b, h, t, d = query.shape
    groups, size = key.shape[1], key.shape[2]
    folded = query.reshape(b, groups, h // groups * t, d)
    scores = (folded @ key.transpose(2, 3)).view(b, h, t, size).float() * scaling
    if mask is not None:
        scores = scores + mask[..., :size]
    weights = scores.softmax(-1).to(value.dtype).view(b, groups, h // groups * t, size)
    return (weights @ value).view(b, h, t, d).transpose(1, 2), None


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, eager_mask)
