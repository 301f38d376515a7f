"""What a finished run leaves: a PEFT adapter in bfloat16, its tokenizer, and `backtrack.json` (contract 1)."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from convert.whole_file import write_text
from train.dpo_settings import DpoSettings
from train.rows import Row, file_sha256
from train.settings import SftSettings


def write_result(
    model: Any,
    tokenizer: Any,
    reset_id: int,
    settings: SftSettings | DpoSettings,
    rows: Sequence[Row],
    method: str = "sft",
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write the adapter's files into the run's folder; an interrupted write leaves the older ones whole.

    `more` is what the training record says beyond that of every run.
    """
    out = settings.out
    # PEFT would add the whole embedding matrix because it grew; the replaced row is all that was trained.
    model.save_pretrained(out, save_embedding_layers=False)
    weights = out / "adapter_model.safetensors"
    half = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in load_file(weights).items()}
    temporary = weights.with_name(weights.name + ".part")
    save_file(half, temporary, metadata={"format": "pt"})
    temporary.replace(weights)
    _plain_base_name(out / "adapter_config.json", settings.base)
    tokenizer.save_pretrained(out)
    record = {
        "schema_version": 1,
        "reset_token": settings.reset_token,
        "reset_token_id": reset_id,
        "method": method,
        "after_reset": settings.after_reset,
        "reset_bias": 0.0,
        "hold_back": 32,
        "calibrated": False,
        "training": training_record(settings, rows) | dict(more or {}),
    }
    write_text(out / "backtrack.json", json.dumps(record, indent=2) + "\n")


def training_record(settings: SftSettings | DpoSettings, rows: Sequence[Row]) -> dict[str, Any]:
    """Data hashes, seed, settings and versions, without a path of the machine."""
    told = asdict(settings)
    for name in ("base", "adapter", "data", "out", "heldout", "threads", "every"):
        told.pop(name, None)
    packages = ("torch", "transformers", "peft", "accelerate", "tokenizers")
    return {
        "data_sha256": file_sha256(settings.data),
        "heldout_sha256": file_sha256(settings.heldout) if settings.heldout else None,
        "base": settings.base.name,
        "safety_rows": sum(row.is_safety for row in rows),
        "benign_rows": sum(not row.is_safety for row in rows),
        "settings": told,
        "versions": {name: version(name) for name in packages} | {"python": platform.python_version()},
    }


def _plain_base_name(config: Path, base: Path) -> None:
    """PEFT writes the base's path; a path of this machine has no place in a file that is given away."""
    told = json.loads(config.read_text("utf-8"))
    told["base_model_name_or_path"] = base.name
    write_text(config, json.dumps(told, indent=2, sort_keys=True) + "\n")
