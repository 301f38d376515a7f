"""What a finished run leaves: an adapter or a checkpoint in bfloat16, its tokenizer, `backtrack.json` (contract 1)."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict

from convert.whole_file import write_text
from train.dpo_settings import DpoSettings
from train.rows import Row, file_sha256
from train.settings import NO_PART_OF_A_RUN, SftSettings
from train.whole_tensors import write_folder, write_tensors


def write_result(
    model: Any,
    tokenizer: Any,
    reset_id: int,
    settings: SftSettings | DpoSettings,
    training: Mapping[str, Any],
    method: str = "sft",
) -> None:
    """Write the result's files into the run's folder, the record last; an interrupted write leaves old files whole.

    Of a PEFT model the adapter is written, a transformers model whole.
    `training` is what `training_record` said when the data was read, and what a run has to say beyond that.
    """
    out = settings.out
    if isinstance(model, PeftModel):
        _write_adapter(model, out, settings.base)
    else:
        write_folder(out, "config.json", model.to(torch.bfloat16).save_pretrained)
    write_folder(out, "tokenizer_config.json", tokenizer.save_pretrained)
    record = {
        "schema_version": 1,
        "reset_token": settings.reset_token,
        "reset_token_id": reset_id,
        "method": method,
        "after_reset": settings.after_reset,
        "reset_bias": 0.0,
        "hold_back": 32,
        "calibrated": False,
        "training": dict(training),
    }
    write_text(out / "backtrack.json", json.dumps(record, indent=2) + "\n")


def training_record(settings: SftSettings | DpoSettings, rows: Sequence[Row]) -> dict[str, Any]:
    """Data hashes, seed, settings and versions, without a path of the machine.

    To be asked for where the rows are read: hours later the files may be others, or gone.
    """
    told = asdict(settings)
    for name in ("base", "adapter", "data", "heldout", "chat", *NO_PART_OF_A_RUN):
        told.pop(name, None)
    packages = ("torch", "transformers", "peft", "accelerate", "tokenizers")
    files = {"heldout": settings.heldout, "chat": getattr(settings, "chat", None)}
    return {
        "data_sha256": file_sha256(settings.data),
        **{f"{name}_sha256": file_sha256(path) if path else None for name, path in files.items()},
        "base": settings.base.name,
        "safety_rows": sum(row.is_safety for row in rows),
        "benign_rows": sum(not row.is_safety for row in rows),
        "settings": told,
        "versions": {name: version(name) for name in packages} | {"python": platform.python_version()},
    }


def _write_adapter(model: Any, out: Path, base: Path) -> None:
    """PEFT's two files as PEFT writes them, but for the base's path, which has no place in what is given away."""
    # PEFT would add the whole embedding matrix because it grew; the replaced row is all that was trained.
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    half = {name: tensor.detach().cpu().to(torch.bfloat16) for name, tensor in state.items()}
    write_tensors(out / "adapter_model.safetensors", half, {"format": "pt"})
    with TemporaryDirectory() as folder:
        model.peft_config["default"].save_pretrained(folder)
        told = json.loads((Path(folder) / "adapter_config.json").read_text("utf-8"))
    told |= {"base_model_name_or_path": base.name, "inference_mode": True}
    write_text(out / "adapter_config.json", json.dumps(told, indent=2, sort_keys=True) + "\n")
