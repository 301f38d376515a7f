"""A fully trained model as a small file: the difference to its base, cut to a low rank, as a PEFT LoRA adapter."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import LoraLayer

from train.trainable import rows_of, set_rows, with_adapter


def as_adapter(trained: Any, base: Any, reset_id: int, rank: int) -> tuple[Any, dict[str, float]]:
    """Wrap `base` in an adapter that comes as near to `trained` as the rank allows.

    Both are plain transformers models with the reset's row in place. Returns the PEFT model, and by the weight's name
    the share of the difference's Frobenius norm that was kept, 0 to 1.
    """
    given, told = rows_of(trained, reset_id)
    wrapped = with_adapter(base, reset_id, told, rank)
    set_rows(wrapped, reset_id, given, told)
    kept = {}
    for name, layer in wrapped.get_base_model().named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        difference = (trained.get_submodule(name).weight - layer.get_base_layer().weight).detach().float()
        left, right, kept[f"{name}.weight"] = truncated(difference, rank)
        scale = layer.scaling["default"] ** 0.5
        with torch.no_grad():
            layer.lora_B["default"].weight.copy_(left / scale)
            layer.lora_A["default"].weight.copy_(right / scale)
    return wrapped, kept


def truncated(matrix: Any, rank: int) -> tuple[Any, Any, float]:
    """The best b [n, rank] @ a [rank, m] for a matrix [n, m], and the share of its Frobenius norm that they keep.

    Where the rank is larger than the matrix allows, the rest is zero. A zero matrix is kept whole.
    """
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    size = min(rank, len(values))
    root = values[:size].sqrt()
    b, a = matrix.new_zeros(len(matrix), rank), matrix.new_zeros(rank, matrix.shape[1])
    b[:, :size], a[:size] = left[:, :size] * root, root[:, None] * right[:size]
    whole = float(values.square().sum())
    return b, a, (float(values[:size].square().sum()) / whole) ** 0.5 if whole else 1.0
