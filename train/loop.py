"""The training loop: resumable, on one core or many devices, with looks at held-out rows in between."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from convert.errors import TakebackError
from train import checkpoint
from train.encode import Encoder, Example, epoch, mixed_in
from train.heldout import measure
from train.objective import collate
from train.rows import Row
from train.settings import SftSettings
from train.stopping import Looks, look
from train.trainable import is_row

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Data:
    """The rows of a run: to train on, to measure on, and chat to mix in. `teachers[n]` belongs to `rows[n]`."""

    rows: Sequence[Row]
    heldout: Sequence[Row]
    chat: Sequence[Row]
    teachers: Sequence[Any]


def run(
    objective: Any, data: Data, encoder: Encoder, settings: SftSettings, accelerator: Any, tell: Tell
) -> tuple[int, Looks]:
    """Train to the last step, or until the looks say so. Returns the step whose weights the model has, and the looks.

    Raises TakebackError where the loss is not a number.
    """
    optimizer, schedule = _optimizer(objective, settings)
    done, looks = checkpoint.resume(settings.out, objective, optimizer), checkpoint.looks_of(settings.out)
    for _ in range(done):
        schedule.step()
    wrapped, optimizer = accelerator.prepare(objective, optimizer)
    stream = _stream(data, encoder, settings, done * accelerator.num_processes * settings.pieces)
    log = checkpoint.Log(settings.out / "log.jsonl", accelerator.is_main_process)
    if data.heldout and not done and accelerator.is_main_process:
        log.write(0, _measured(objective, data, encoder, settings, accelerator), tell)
    began, first, step = time.monotonic(), done, done
    while step < settings.steps and not looks.ended:
        step += 1
        # Pieces of unlike lengths hold unlike forms: a step sums over several, or it would see one form alone.
        groups = [next(stream) for _ in range(accelerator.num_processes * settings.pieces)]
        loss, figures = _backward(wrapped, groups, data.teachers, settings, encoder.end, accelerator)
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
        if data.heldout and (step == settings.steps or step % settings.every == 0):
            looks = _look(looks, step, objective, data, encoder, settings, accelerator, log, tell)
        last = step == settings.steps or looks.ended
        if accelerator.is_main_process and (last or step % settings.save_every == 0):
            checkpoint.save(settings.out, step, objective, optimizer, looks)
    if accelerator.is_main_process and looks.best_step not in (0, step):
        checkpoint.restore_best(settings.out, objective)
        return looks.best_step, looks
    return step, looks


def _measured(
    objective: Any, data: Data, encoder: Encoder, settings: SftSettings, accelerator: Any
) -> dict[str, float]:
    with accelerator.autocast() if settings.full else nullcontext():
        return measure(objective.model, data.heldout, encoder, encoder.end, rule=objective.rule)


def _look(
    looks: Looks,
    step: int,
    objective: Any,
    data: Data,
    encoder: Encoder,
    settings: SftSettings,
    accelerator: Any,
    log: checkpoint.Log,
    tell: Tell,
) -> Looks:
    """Measure and log; where a run may end early, also judge, keep the best and tell every process."""
    after = looks
    if accelerator.is_main_process:
        figures = _measured(objective, data, encoder, settings, accelerator)
        log.write(step, figures, tell)
        if settings.patience:
            after = look(looks, step, figures, settings.patience, settings.benign_limit)
        if after.best_step == step:
            checkpoint.save_best(settings.out, objective)
        if after.ended:
            tell(f"ends at step {step}: {after.ended}")
    if settings.patience:
        ends = torch.tensor([float(bool(after.ended))], device=accelerator.device)
        if float(accelerator.reduce(ends, "sum")) and not after.ended:
            return Looks(ended="another process says so")
    return after


def _batches(data: Data, encoder: Encoder, settings: SftSettings, number: int) -> Iterator[list[Example]]:
    """One epoch in pieces of batches: like lengths together, so that little is padded, in a random order."""
    seed = settings.seed * 1_000_003 + number
    chance = random.Random(seed)
    dense = settings.prefixes == "dense"
    examples = list(epoch(data.rows, encoder, settings.shares, chance.randrange(2**31), dense=dense))
    if data.chat:
        examples += mixed_in(data.chat, encoder, settings.chat_share, len(examples), seed)
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


def _stream(data: Data, encoder: Encoder, settings: SftSettings, skip: int) -> Iterator[list[Example]]:
    """Batches without end, from the `skip`-th on: a resumed run sees what it would have seen."""
    number = 0
    while True:
        for batch in _batches(data, encoder, settings, number):
            if skip:
                skip -= 1
                continue
            yield batch
        number += 1


def _backward(
    wrapped: Any,
    groups: Sequence[Sequence[Example]],
    teachers: Sequence[Any],
    settings: SftSettings,
    pad: int,
    accelerator: Any,
) -> tuple[float, dict[str, float]]:
    """Gradients of the mean over all sequences of a step; returns the loss and the means of its figures.

    `groups` are those of all processes. Each computes its own, and tells the figures of those; gradients are averaged
    over the processes, so that a group weighs as much as it has sequences, wherever it is computed.
    """
    workers = accelerator.num_processes
    own = groups[accelerator.process_index :: workers]
    total, here = sum(len(group) for group in groups), sum(len(group) for group in own)
    sums: dict[str, list[tuple[float, float]]] = {}
    whole = 0.0
    for number, group in enumerate(own, 1):
        share = len(group) / here
        with nullcontext() if number == len(own) else accelerator.no_sync(wrapped):
            loss, figures = wrapped(collate(group, teachers, settings.weights, pad).to(accelerator.device))
            accelerator.backward(loss * (len(group) * workers / total))
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
    linear_only = bool(settings.full and settings.store_rank)
    parts: dict[bool, list[Any]] = {False: [], True: []}
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            parts[is_row(name, parameter, linear_only, objective.model)].append(parameter)
    rates = {False: settings.rate, True: settings.row_rate}
    groups = [{"params": params, "lr": rates[row]} for row, params in parts.items() if params]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)
    warm = max(1, round(settings.steps * settings.warmup))

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, settings.steps - warm)))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
