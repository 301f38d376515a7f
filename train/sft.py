"""Supervised training of a backtracking model: what a run needs, in order, from rows and base to its result."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from assistant.locks import only_writer
from convert.errors import TakebackError
from train import checkpoint, teacher
from train.base import load_base
from train.earlier_result import earlier_record, origin, start_on
from train.encode import RAMP, Encoder
from train.loop import Data, Tell, run
from train.low_rank import as_adapter
from train.objective import Objective
from train.output import LogitRule, logit_rule
from train.probe import fit_row
from train.record import training_record, write_result
from train.rows import Row, file_sha256, load_rows
from train.settings import LossWeights, SftSettings
from train.trainable import add_reset_token, whole, with_adapter


def train(settings: SftSettings, tell: Tell) -> Path:
    """Run or resume a training run; returns the folder of the finished adapter or checkpoint.

    Raises TakebackError on bad rows or settings, a base that cannot be trained, or an output folder of another run.
    """
    checkpoint.keep_apart(settings.out, settings.base, settings.adapter)
    rows, heldout, chat = _rows(settings)
    if settings.adapter:
        earlier = earlier_record(settings.base, settings.adapter)
        settings = replace(settings, reset_token=earlier.reset_token)
    checkpoint.claim(settings.out, _fingerprint(settings))
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    accelerator = _accelerator()
    tell = tell if accelerator.is_main_process else lambda line: None
    with only_writer(settings.out) if accelerator.is_main_process else nullcontext():
        _train(settings, rows, heldout, chat, accelerator, tell)
        accelerator.wait_for_everyone()
    return settings.out


def _train(
    settings: SftSettings,
    rows: list[Row],
    heldout: list[Row],
    chat: list[Row],
    accelerator: Any,
    tell: Tell,
) -> None:
    model, tokenizer = load_base(settings.base, torch.float32 if settings.full else torch.bfloat16)
    reset_id = add_reset_token(model, tokenizer, settings.reset_token)
    encoder = Encoder(tokenizer, reset_id, settings.max_length)
    for given, path in ((rows, settings.data), (heldout, settings.heldout), (chat, settings.chat)):
        _check_lengths(given, encoder, path)
    told = training_record(settings, rows)
    rule = logit_rule(model.to(accelerator.device))
    teachers = _teachers(model, rows, encoder, settings, accelerator, tell)
    if settings.adapter:
        earlier = earlier_record(settings.base, settings.adapter)
        start = start_on(model, tokenizer, earlier, settings.base, settings.adapter, settings.rank)
        told["start"] = origin(settings.adapter, earlier)
        objective = Objective(start.model, reset_id, rule)
    else:
        if checkpoint.begun(settings.out):
            row = torch.zeros(model.get_output_embeddings().weight.shape[1])  # the checkpoint has it
        else:
            row = _first_row(model, rows, reset_id, teachers, settings.weights, rule, tell)
        objective = _objective(model, reset_id, row, rule, settings)
    data = Data(rows, heldout, chat, teachers)
    step, looks = run(objective, data, encoder, settings, accelerator, tell)
    if accelerator.is_main_process:
        told |= {"step": step} | ({"ended": looks.ended} if looks.ended else {})
        made = objective.model
        if settings.full and settings.store_rank:
            made, told["kept"] = _as_adapter(made, reset_id, settings, tell)
        write_result(made, tokenizer, reset_id, settings, told)
        kind = "model" if settings.full and not settings.store_rank else "adapter"
        tell(f"done: the {kind} of step {step} is in {settings.out}")


def _rows(settings: SftSettings) -> tuple[list[Row], list[Row], list[Row]]:
    """The rows to train on, to measure on and to mix in, after a look at the settings that concern them."""
    rows = load_rows(settings.data)
    heldout = load_rows(settings.heldout) if settings.heldout else []
    chat = load_rows(settings.chat) if settings.chat else []
    if any(row.is_safety for row in chat):
        raise TakebackError(
            f'{settings.chat}: chat rows have a "reply"; rows with "unsafe" belong into --data'
        )
    if settings.patience and len({row.is_safety for row in heldout}) < 2:
        raise TakebackError("--patience needs --heldout with safety rows and benign rows to look at")
    if not all(any(row.is_safety == wanted for row in rows) for wanted in (True, False)):
        raise TakebackError(f"{settings.data}: training needs safety rows and benign rows")
    if settings.adapter and settings.full:
        raise TakebackError("--adapter is an adapter to train on; with --full, give a checkpoint as --base")
    if settings.store_rank and not settings.full:
        raise TakebackError("--store-rank is for --full; the rank of a LoRA adapter is --rank")
    return rows, heldout, chat


def _fingerprint(settings: SftSettings) -> str:
    """What a run depends on, as text: its settings, and the contents of its data.

    Settings that runs did not always have are left out at their default, so that an older run can be finished.
    """
    files = {"data": settings.data, "heldout": settings.heldout, "chat": settings.chat}
    told = asdict(settings) | dict.fromkeys(files, "") | {"threads": 0, "every": 0, "out": ""}
    told["data"] = [file_sha256(path) for path in files.values() if path]
    if settings.adapter:
        told["adapter"] = file_sha256(settings.adapter / "adapter_model.safetensors")
    if settings.patience:
        told["every"] = settings.every
    plain = {field.name: field.default for field in fields(SftSettings)}
    for name in LATER:
        if getattr(settings, name) == plain[name]:
            del told[name]
    told.pop("save_every", None)
    return json.dumps(told, default=str, sort_keys=True)


LATER = (
    "full", "store_rank", "prefixes", "chat", "chat_share", "patience", "benign_limit", "save_every", "adapter",
)  # fmt: skip


def _accelerator() -> Any:
    try:
        accelerator = Accelerator(mixed_precision="bf16")
    except (ValueError, RuntimeError) as error:
        raise TakebackError(f"cannot set the devices up: {str(error).splitlines()[0]}") from error
    if accelerator.distributed_type.value in ("FSDP", "DEEPSPEED", "MEGATRON_LM", "XLA"):
        raise TakebackError(
            f"{accelerator.distributed_type.value} splits the model, which training here does not know: "
            "let accelerate copy it to each device (distributed_type MULTI_GPU)"
        )
    return accelerator


def _check_lengths(rows: Sequence[Row], encoder: Encoder, path: Path | None) -> None:
    for number, row in enumerate(rows, 1):
        try:
            size = len(encoder.prompt(row))
        except TakebackError as error:
            raise TakebackError(f"{path}, row {number}: {error}") from error
        if size + RAMP >= encoder.max_length:
            raise TakebackError(
                f"{path}, row {number}: its prompt leaves no room for a reply in {encoder.max_length} tokens; "
                "raise --max-length, or leave the row out"
            )


def _teachers(
    model: Any,
    rows: Sequence[Row],
    encoder: Encoder,
    settings: SftSettings,
    accelerator: Any,
    tell: Tell,
) -> list[Any]:
    """Per row the frozen base's states over its reply or its draft; kept beside the run."""
    kept = settings.out / "teacher.safetensors"
    states = teacher.recall(kept)
    accelerator.wait_for_everyone()
    if states is not None and len(states) == len(rows):
        return states
    examples, starts = [], []
    for number, row in enumerate(rows):
        examples.append(encoder.draft(row) if row.is_safety else encoder.benign(row, number))
        starts.append(len(encoder.prompt(row)) - 1)
    began = time.monotonic()

    def progress(done: int, total: int) -> None:
        left = (time.monotonic() - began) / done * (total - done)
        if done % 160 == 0 or done == total:
            tell(f"base's own states {done}/{total}, about {left / 60:.0f} min left")

    with accelerator.autocast() if settings.full else nullcontext():
        states = teacher.hidden_states(model, examples, starts, encoder.end, progress)
    if accelerator.is_main_process:
        teacher.remember(states, kept)
    accelerator.wait_for_everyone()
    return states


def _first_row(
    model: Any,
    rows: Sequence[Row],
    reset_id: int,
    teachers: Sequence[Any],
    terms: LossWeights,
    rule: LogitRule,
    tell: Tell,
) -> Any:
    """The reset's row from the linear probe (train/probe.py), with the objective's own weights, over 120,000 places."""
    head = model.get_output_embeddings().weight.detach()
    hidden, unsafe, weight = [], [], []
    for row, states in zip(rows, teachers, strict=True):
        ramp = torch.arange(len(states)).div(RAMP).clamp(max=1.0)
        marks = (
            ramp * (terms.reset / ramp.sum().clamp(min=1.0))
            if row.is_safety
            else torch.full_like(ramp, terms.forbid)
        )
        hidden.append(states)
        unsafe.append(torch.full((len(states),), float(row.is_safety)))
        weight.append(marks)
    features, label, weights = torch.cat(hidden), torch.cat(unsafe), torch.cat(weight)
    chosen = torch.randperm(len(features), generator=torch.Generator().manual_seed(1))[:120_000]
    features, label, weights = features[chosen], label[chosen], weights[chosen]
    others = teacher.logsumexp(features, head, reset_id, rule)
    row, loss = fit_row(features, others, label, weights, rule=rule)
    tell(f"reset row from a linear probe: loss {loss:.3f} nats, norm {float(row.norm()):.2f}")
    return row


def _objective(model: Any, reset_id: int, row: Any, rule: LogitRule, settings: SftSettings) -> Objective:
    """The model, ready to be trained, with its loss. A head that is trained leaves a copy for the teacher."""
    if not settings.full:
        return Objective(with_adapter(model, reset_id, row, settings.rank), reset_id, rule)
    linear_only = bool(settings.store_rank)
    head = None if linear_only else model.get_output_embeddings().weight.detach().to(torch.bfloat16)
    return Objective(whole(model, reset_id, row, linear_only=linear_only), reset_id, rule, head)


def _as_adapter(
    trained: Any, reset_id: int, settings: SftSettings, tell: Tell
) -> tuple[Any, dict[str, float]]:
    """The trained model's difference to its base, read again, as an adapter; and the share kept of each weight's."""
    base, tokenizer = load_base(settings.base)
    add_reset_token(base, tokenizer, settings.reset_token)
    adapter, kept = as_adapter(trained.cpu(), base, reset_id, settings.store_rank)
    for name, share in kept.items():
        tell(f"{name}: {share:.1%} of the difference's norm kept")
    return adapter, kept
