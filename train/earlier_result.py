"""The supervised result that a run starts from: an adapter on its base, or a whole checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict

from convert.adapter import open_adapter
from convert.errors import TakebackError
from convert.reset_token import BacktrackRecord, load_record
from train.base import load_base
from train.output import LogitRule, logit_rule
from train.rows import file_sha256
from train.trainable import add_reset_token, rows_of, set_rows, with_adapter


@dataclass(frozen=True)
class Start:
    """A PEFT model whose adapter is trainable, in float32, how it makes its logits, and what its record says."""

    model: Any
    tokenizer: Any
    reset_id: int
    rule: LogitRule
    record: BacktrackRecord


def load_start(base: Path, adapter: Path | None, rank: int) -> Start:
    """Load what `takeback train sft` left in `adapter`, on `base`; without `adapter`, `base` is a whole checkpoint.

    A checkpoint gets a new adapter of `rank`, which changes nothing before it is trained. Raises TakebackError for
    what is no supervised result, or not one on this base.
    """
    record = earlier_record(base, adapter)
    model, tokenizer = load_base(base, torch.bfloat16)
    return start_on(model, tokenizer, record, base, adapter, rank)


def start_on(
    model: Any, tokenizer: Any, record: BacktrackRecord, base: Path, adapter: Path | None, rank: int
) -> Start:
    """The same, on a base that is loaded: `model` is changed. `record` is what `earlier_record` said."""
    if adapter is None and record.reset_token not in tokenizer.get_vocab():
        raise TakebackError(
            f"{base}: its tokenizer has no token {record.reset_token}, which its record names"
        )
    reset_id = add_reset_token(model, tokenizer, record.reset_token)
    if record.reset_token_id not in (None, reset_id):
        raise TakebackError(
            f"{adapter or base}: its reset token is {record.reset_token_id}, and on {base} it would be {reset_id}: "
            "give the --base that it was trained on"
        )
    rule = logit_rule(model)
    wrapped = _loaded(model, adapter) if adapter else _new(model, reset_id, rank)
    for parameter in wrapped.parameters():
        if parameter.requires_grad:  # a small step would be lost in bfloat16
            parameter.data = parameter.data.float()
    return Start(wrapped, tokenizer, reset_id, rule, record)


def origin(adapter: Path | None, record: BacktrackRecord) -> dict[str, Any]:
    """What a new result's record says of the one that it started from."""
    weights = adapter / "adapter_model.safetensors" if adapter else None
    return {
        "method": record.method,
        "adapter_sha256": file_sha256(weights) if weights else None,
        "training": record.training,
    }


def earlier_record(base: Path, adapter: Path | None) -> BacktrackRecord:
    """What the result says of itself. Raises TakebackError for what is no supervised result."""
    if adapter and (adapter / "config.json").exists() and not (adapter / "adapter_config.json").exists():
        raise TakebackError(f"{adapter} is a whole checkpoint: give it as --base, without --adapter")
    if adapter:
        with open_adapter(adapter) as opened:
            if not opened.rows:
                raise TakebackError(
                    f"{adapter}: has no trained row of a reset token; run takeback train sft first"
                )
    record = load_record(adapter or base) if (adapter or base).is_dir() else None
    if record is None:
        hint = "give the folder that takeback train sft wrote as --adapter"
        raise TakebackError(
            f"{adapter or base}: no supervised result, since it has no backtrack.json; {hint}"
        )
    return record


def _loaded(model: Any, adapter: Path) -> Any:
    """The model with the adapter's weights, all of which must have found their place."""
    misfit = TakebackError(f"{adapter} does not fit the base: give the --base that it was trained on")
    with open_adapter(adapter) as opened:
        stored = set(opened.stored)
    try:
        wrapped = PeftModel.from_pretrained(model, adapter, is_trainable=True)
    except (RuntimeError, ValueError, KeyError, IndexError) as error:
        raise misfit from error
    if set(get_peft_model_state_dict(wrapped, save_embedding_layers=False)) != stored:
        raise misfit
    return wrapped


def _new(model: Any, reset_id: int, rank: int) -> Any:
    """The checkpoint with a new adapter, whose row(s) of the reset token are the checkpoint's own."""
    given, told = rows_of(model, reset_id)
    wrapped = with_adapter(model, reset_id, told, rank)
    set_rows(wrapped, reset_id, given, told)
    return wrapped
