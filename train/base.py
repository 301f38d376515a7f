"""The base model that training starts from: a transformers folder, or a GGUF file that is dequantized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from convert.errors import TakebackError

FAILURES = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    ImportError,
    SafetensorError,
)
"""What transformers raises on folders that are no model, or not one that it knows."""


def load_base(path: Path, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """Load (model, tokenizer) from a folder of safetensors or from a GGUF file.

    A GGUF file is dequantized by transformers, whose config then still claims to be quantized: that claim is
    taken out, or the model could not be trained. No remote code is run and no pickle is read.
    """
    if path.is_file():
        where: dict[str, Any] = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    elif path.is_dir():
        where = {"pretrained_model_name_or_path": str(path), "use_safetensors": True}
    else:
        raise TakebackError(f"no base model at {path}: give a folder of safetensors or a GGUF file")
    try:
        tokenizer = AutoTokenizer.from_pretrained(**where, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32, trust_remote_code=False)
    except FAILURES as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise TakebackError(f"cannot load the base model {path}: {why}") from error
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    for attribute in ("hf_quantizer", "is_quantized", "quantization_method"):
        if hasattr(model, attribute):
            setattr(model, attribute, None)
    return model.to(dtype), tokenizer
