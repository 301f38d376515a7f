"""The weights of a GGUF file in torch: what is attacked is the very file that is judged, dequantized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from convert.errors import TakebackError

_FAILURES = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError)
"""What transformers raises on files of kinds that it does not know; NotImplementedError is a RuntimeError."""


def load_weights(path: Path, threads: int | None = None) -> Any:
    """The model of a GGUF file, frozen, in float32, on the accelerator if there is one.

    No remote code is run and no pickle is read. Raises TakebackError where transformers cannot read the file.
    """
    if threads:
        torch.set_num_threads(threads)
    logging.disable_progress_bar()  # the run has a line of its own
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(path.resolve().parent), gguf_file=path.name, dtype=torch.float32, trust_remote_code=False
        )
    except _FAILURES as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TakebackError(f"{path}: its weights cannot be read for a gradient: {reason[:200]}") from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(device).eval().requires_grad_(requires_grad=False)
