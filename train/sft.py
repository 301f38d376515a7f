"""Supervised training of a backtracking model: the loop, resumable, on one core or many devices."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model

from convert.errors import TakebackError
from train import checkpoint, teacher
from train.base import load_base
from train.encode import RAMP, Encoder, Example, epoch
from train.heldout import measure
from train.objective import Objective, collate
from train.probe import fit_row
from train.record import write_result
from train.rows import Row, file_sha256, load_rows
from train.settings import LossWeights, SftSettings

Tell = Callable[[str], None]
SAVE_EVERY = 10
"""Steps between checkpoints: a kill costs no more than these."""


def train(settings: SftSettings, tell: Tell) -> Path:
    """Run or resume a training run; returns the folder of the finished adapter.

    Raises TakebackError on bad rows, a base that cannot be loaded, or an output folder of another run.
    """
    rows = load_rows(settings.data)
    heldout = load_rows(settings.heldout) if settings.heldout else []
    settings.out.mkdir(parents=True, exist_ok=True)
    checkpoint.claim(settings.out, _fingerprint(settings))
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    accelerator = Accelerator(mixed_precision="bf16")
    model, tokenizer = load_base(settings.base, torch.bfloat16)
    reset_id = add_reset_token(model, tokenizer, settings.reset_token)
    encoder = Encoder(tokenizer, reset_id, settings.max_length)
    _check_lengths(rows, encoder, settings.data)
    _check_lengths(heldout, encoder, settings.heldout)
    teachers = _teachers(model.to(accelerator.device), rows, encoder, settings, accelerator, tell)
    if checkpoint.begun(settings.out):
        row = torch.zeros(model.config.hidden_size)  # the checkpoint has it
    else:
        row = _first_row(model, rows, reset_id, teachers, settings.weights, tell)
    objective = Objective(with_adapter(model, reset_id, row, settings.rank), reset_id)
    _loop(objective, rows, heldout, encoder, teachers, settings, accelerator, tell)
    if accelerator.is_main_process:
        write_result(objective.model, tokenizer, reset_id, settings, rows)
        tell(f"done: the adapter is in {settings.out}")
    return settings.out


def _fingerprint(settings: SftSettings) -> str:
    """What a run depends on, as text: its settings, and the contents of its data."""
    data = [file_sha256(path) for path in (settings.data, settings.heldout) if path]
    told = asdict(settings) | {"threads": 0, "every": 0, "out": "", "data": data, "heldout": ""}
    return json.dumps(told, default=str, sort_keys=True)


def _check_lengths(rows: Sequence[Row], encoder: Encoder, path: Path | None) -> None:
    for number, row in enumerate(rows, 1):
        if len(encoder.prompt(row)) + RAMP >= encoder.max_length:
            raise TakebackError(
                f"{path}, row {number}: its prompt leaves no room for a reply in {encoder.max_length} tokens; "
                "raise --max-length, or leave the row out"
            )


def add_reset_token(model: Any, tokenizer: Any, text: str) -> int:
    """Give the reset token an id: that of an added token of this text, or a new one with a new embedding row."""
    if text not in tokenizer.get_vocab():
        tokenizer.add_special_tokens({"additional_special_tokens": [text]})
    reset_id = int(tokenizer.convert_tokens_to_ids(text))
    if reset_id >= model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(reset_id + 1, mean_resizing=False)
    return reset_id


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

    states = teacher.hidden_states(model, examples, starts, encoder.tokenizer.eos_token_id, progress)
    if accelerator.is_main_process:
        teacher.remember(states, kept)
    accelerator.wait_for_everyone()
    return states


def _first_row(
    model: Any, rows: Sequence[Row], reset_id: int, teachers: Sequence[Any], terms: LossWeights, tell: Tell
) -> Any:
    """The reset's row from the linear probe (train/probe.py), with the objective's own weights, over 120,000 places."""
    head = model.get_output_embeddings().weight[:reset_id].detach()
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
    row, loss = fit_row(features, teacher.logsumexp(features, head), label, weights)
    tell(f"reset row from a linear probe: loss {loss:.3f} nats, norm {float(row.norm()):.2f}")
    return row


def with_adapter(model: Any, reset_id: int, row: Any, rank: int) -> Any:
    """The model with a LoRA adapter on every linear layer and the reset row(s) trained, starting from `row` [d]."""
    tied = model.config.tie_word_embeddings
    tokens: Any = [reset_id] if tied else {"embed_tokens": [reset_id], "lm_head": [reset_id]}
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        trainable_token_indices=tokens,
        task_type="CAUSAL_LM",
    )
    wrapped = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "trainable_tokens_delta" in name:
                parameter.copy_(row[None].to(parameter.dtype))
    return wrapped


def _batches(
    rows: Sequence[Row], encoder: Encoder, settings: SftSettings, number: int
) -> Iterator[list[Example]]:
    """One epoch in pieces of batches: like lengths together, so that little is padded, in a random order."""
    chance = random.Random(settings.seed * 1_000_003 + number)
    examples = list(epoch(rows, encoder, settings.shares, chance.randrange(2**31)))
    chance.shuffle(examples)
    batches: list[list[Example]] = []
    for i in range(0, len(examples), 128):
        group: list[Example] = []
        for example in sorted(examples[i : i + 128], key=lambda e: len(e.ids)):
            if group and len(example.ids) * (len(group) + 1) > settings.batch_tokens // settings.pieces:
                batches.append(group)
                group = []
            group.append(example)
        batches.append(group)
    chance.shuffle(batches)
    yield from batches


def _stream(
    rows: Sequence[Row], encoder: Encoder, settings: SftSettings, skip: int
) -> Iterator[list[Example]]:
    """Batches without end, from the `skip`-th on: a resumed run sees what it would have seen."""
    number = 0
    while True:
        for batch in _batches(rows, encoder, settings, number):
            if skip:
                skip -= 1
                continue
            yield batch
        number += 1


def _loop(
    objective: Any,
    rows: Sequence[Row],
    heldout: Sequence[Row],
    encoder: Encoder,
    teachers: Sequence[Any],
    settings: SftSettings,
    accelerator: Any,
    tell: Tell,
) -> None:
    optimizer, schedule = _optimizer(objective, settings)
    done = checkpoint.resume(settings.out, objective, optimizer)
    for _ in range(done):
        schedule.step()
    wrapped, optimizer = accelerator.prepare(objective, optimizer)
    pad = encoder.tokenizer.eos_token_id
    share, workers = accelerator.process_index, accelerator.num_processes
    stream = _stream(rows, encoder, settings, done * workers * settings.pieces)
    log = checkpoint.Log(settings.out / "log.jsonl", accelerator.is_main_process)
    if heldout and not done:
        log.write(0, measure(objective.model, heldout, encoder, pad), tell)
    began, first = time.monotonic(), done
    for step in range(done + 1, settings.steps + 1):
        # Pieces of unlike lengths hold unlike forms: a step sums over several, or it would see one form alone.
        groups = [next(stream) for _ in range(workers * settings.pieces)][share::workers]
        loss, figures = _backward(wrapped, groups, teachers, settings, pad, accelerator)
        if not math.isfinite(loss):
            raise TakebackError(
                f"the loss is not a number at step {step}: lower --rate, or resume from a checkpoint"
            )
        accelerator.clip_grad_norm_(wrapped.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        left = (time.monotonic() - began) / (step - first) * (settings.steps - step)
        log.step(step, settings.steps, loss, figures, left, tell)
        last = step == settings.steps
        if accelerator.is_main_process and (last or step % SAVE_EVERY == 0):
            checkpoint.save(settings.out, step, objective, optimizer)
        if accelerator.is_main_process and heldout and (last or step % settings.every == 0):
            log.write(step, measure(objective.model, heldout, encoder, pad), tell)


def _backward(
    wrapped: Any,
    groups: Sequence[Sequence[Example]],
    teachers: Sequence[Any],
    settings: SftSettings,
    pad: int,
    accelerator: Any,
) -> tuple[float, dict[str, float]]:
    """Gradients of the mean over all sequences of a step; returns the loss and the means of its figures."""
    total = sum(len(group) for group in groups)
    sums: dict[str, list[tuple[float, float]]] = {}
    whole = 0.0
    for group in groups:
        share = len(group) / total
        loss, figures = wrapped(collate(group, teachers, settings.weights, pad).to(accelerator.device))
        accelerator.backward(loss * share)
        whole += float(loss.detach()) * share
        for name, value in figures.items():
            if not math.isnan(value):
                sums.setdefault(name, []).append((value, share))
    means = {
        name: sum(value * share for value, share in parts) / sum(share for _, share in parts)
        for name, parts in sums.items()
    }
    return whole, means


def _optimizer(objective: Any, settings: SftSettings) -> tuple[Any, Any]:
    named = [(name, p) for name, p in objective.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for name, p in named if "trainable_tokens" not in name], "lr": settings.rate},
        {"params": [p for name, p in named if "trainable_tokens" in name], "lr": settings.row_rate},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)
    warm = max(1, round(settings.steps * settings.warmup))

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, settings.steps - warm)))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
