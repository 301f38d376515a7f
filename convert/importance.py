"""How much each input of a matrix matters, as llama.cpp's `llama-imatrix` measures it: for the types of few bits."""

import math
from pathlib import Path

import numpy as np

from convert.checkpoint import open_checkpoint
from convert.errors import TakebackError
from convert.numbers import F32, Floats
from convert.untrusted import clean_line

_SUMS, _COUNTS = ".in_sum2", ".counts"
_MOST_NUMBERS = 1 << 28


def read_importances(path: Path) -> dict[str, Floats]:
    """Tensor name → mean square of each input [matrices x width]; 1 for a matrix that was never used.

    Raises TakebackError where the file is none that llama-imatrix writes.
    """
    if path.suffix != ".gguf":
        raise TakebackError(f"{path}: give the .gguf file that llama-imatrix writes")
    found: dict[str, Floats] = {}
    with open_checkpoint(path) as opened:
        tensors = opened.tensors
        for name, sums in tensors.items():
            counts = tensors.get(name.removesuffix(_SUMS) + _COUNTS)
            if not name.endswith(_SUMS) or counts is None:
                continue
            shown = clean_line(name)
            large = max(math.prod(tensor.shape) for tensor in (sums, counts)) > _MOST_NUMBERS
            if sums.ggml_type != F32 or counts.ggml_type != F32 or large:
                raise TakebackError(f"{path}: {shown} is not of float32, or too large")
            squares, used = sums.values().reshape(-1, sums.shape[-1]), counts.values().reshape(-1)
            if len(squares) != len(used):
                raise TakebackError(f"{path}: {shown} has not a count for each matrix")
            with np.errstate(all="ignore"):
                means = np.where(used[:, None] > 0, squares / used[:, None], np.float32(1))
            if not (np.isfinite(means).all() and np.isfinite(used).all() and (means >= 0).all()):
                raise TakebackError(f"{path}: {shown} holds what is no mean of squares")
            found[name.removesuffix(_SUMS)] = means.astype(np.float32).reshape(-1)
    if not found:
        raise TakebackError(f"{path}: holds no importances; llama-imatrix writes them")
    return found
