"""A checkpoint with an adapter merged in, as a safetensors file: for a converter that knows no adapters.

No family is needed: an adapter names the checkpoint's own tensors, and what is merged is merged in their order.
"""

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from convert import numbers
from convert.adapter import EMBEDDING, Adapter
from convert.checkpoint import Checkpoint, Json, read_json
from convert.errors import TakebackError
from convert.merge import OutputTensor, chunks
from convert.plan import check_heads_rows, merged, output, without_tied_head
from convert.progress import Progress

_ALIGNMENT = 8


def merged_tensors(source: Checkpoint, adapter: Adapter) -> dict[str, OutputTensor]:
    """The checkpoint's tensors with the adapter in them, by name; what is changed becomes F32.

    Raises TakebackError for what cannot be merged rightly without knowing the architecture.
    """
    config = read_json(adapter.path / "adapter_config.json")
    if config.get("fan_in_fan_out"):
        raise TakebackError(
            f"{adapter.path}: is of layers that are stored the other way round (fan_in_fan_out), which is known of "
            "no architecture here; merge it with PEFT and convert the result"
        )
    if EMBEDDING not in source.tensors:
        raise TakebackError(
            f"{source.path}: has no {EMBEDDING}; merge the adapter with PEFT and convert the result"
        )
    plain = {name: output(name, tensor) for name, tensor in source.tensors.items()}
    tensors = merged(plain, adapter, {name: name for name in plain}, {})
    if source.config.get("tie_word_embeddings"):
        tensors = without_tied_head(tensors, tied=True)
    check_heads_rows(tensors)
    return {name: _written(tensor) for name, tensor in tensors.items()}


def _written(tensor: OutputTensor) -> OutputTensor:
    changed = tensor.lora is not None or tensor.rows is not None
    return replace(tensor, ggml_type=numbers.F32) if changed else tensor


def write_safetensors(path: Path, tensors: Mapping[str, OutputTensor], progress: Progress) -> None:
    """Write the tensors as one safetensors file; `progress` counts bytes."""
    header: dict[str, Json] = {"__metadata__": {"format": "pt"}}
    total = 0
    for name, tensor in tensors.items():
        assert tensor.source is not None  # none is made of the config alone
        changed = tensor.ggml_type != tensor.source.ggml_type
        header[name] = {
            "dtype": "F32" if changed else tensor.source.dtype,
            "shape": tensor.shape,
            "data_offsets": [total, total + tensor.nbytes],
        }
        total += tensor.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    done = 0
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            for chunk in chunks(tensor, lambda raw: None):
                file.write(chunk.data)
                done += chunk.nbytes
                progress("merging", done, total)
        file.flush()
        os.fsync(file.fileno())
