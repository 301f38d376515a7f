"""TRL's DPO trainer, made to train a PEFT adapter with a reset row, and to keep to this machine."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl import DPOConfig, DPOTrainer

from train.dpo_settings import DpoSettings
from train.earlier_result import Start
from train.pairs import Pair

Tell = Callable[[str], None]


class _Trainer(DPOTrainer):
    """TRL's trainer on pairs that are token ids already, with reference log-probabilities that are known already."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset  # TRL would make text of it and tokenize that: a typed [RESET] would become the token

    def _precompute_ref_logps(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def _send_telemetry(self) -> None:
        """Nothing about a run leaves this machine."""


def log_probabilities(trainer: Any, pairs: Sequence[Pair], tell: Tell | None = None) -> Any:
    """log p [n, 2] of chosen and rejected, given their context, under the model as it is."""
    sequences = dataset(pairs, torch.zeros(len(pairs), 2))
    lengths = [len(pair.context) + len(pair.chosen) + len(pair.rejected) for pair in pairs]
    by_length = sorted(range(len(pairs)), key=lambda n: lengths[n])
    found = torch.zeros(len(pairs), 2)
    size, began = trainer.args.per_device_train_batch_size, time.monotonic()
    for i in range(0, len(by_length), size):
        group = by_length[i : i + size]
        batch = trainer.data_collator([sequences[n] for n in group])
        batch = {name: tensor.to(trainer.accelerator.device) for name, tensor in batch.items()}
        for side, values in enumerate(trainer.compute_ref_log_probs(trainer.model, batch)):
            found[group, side] = values.float().cpu()
        if tell and (i // size % 50 == 49 or i + size >= len(pairs)):
            left = (time.monotonic() - began) / (i + len(group)) * (len(pairs) - i - len(group))
            tell(f"reference {i + len(group)}/{len(pairs)}, about {left / 60:.0f} min left")
    return found


def dataset(pairs: Sequence[Pair], reference: Any) -> Any:
    """The pairs as TRL reads them, with the reference's log-probabilities [n, 2]."""
    columns: dict[str, Any] = {
        "prompt_ids": [list(pair.context) for pair in pairs],
        "chosen_ids": [list(pair.chosen) for pair in pairs],
        "rejected_ids": [list(pair.rejected) for pair in pairs],
        "ref_chosen_logps": reference[:, 0].tolist(),
        "ref_rejected_logps": reference[:, 1].tolist(),
    }
    return Dataset.from_dict(columns)


def make_trainer(start: Start, settings: DpoSettings, pairs: Sequence[Pair], optimizer: Any) -> Any:
    """TRL's trainer on the model inside PEFT's wrapper.

    Given the wrapper, TRL would copy the adapter as its reference, and by PEFT's names it misses the reset's row.
    """
    inner = start.model.base_model.model
    head = inner.get_output_embeddings()
    if not hasattr(head, "bias"):
        head.bias = None  # TRL asks for it; PEFT's wrapper of a trained row knows the weight alone
    config = DPOConfig(
        output_dir=str(settings.out),
        per_device_train_batch_size=settings.batch // settings.pieces,
        gradient_accumulation_steps=settings.pieces,
        max_steps=1,
        beta=settings.beta,
        loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, settings.chosen],
        precompute_ref_log_probs=True,
        max_length=None,
        train_sampling_strategy="sequential",
        gradient_checkpointing=False,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        seed=settings.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = _Trainer(
        model=inner,
        args=config,
        train_dataset=dataset(pairs[:1], torch.zeros(1, 2)),
        processing_class=copy.deepcopy(start.tokenizer),
        optimizers=(optimizer, None),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def make_optimizer(model: Any, settings: DpoSettings) -> Any:
    """AdamW over the trained parameters, the reset's row at its own rate."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for name, p in named if "trainable_tokens" not in name], "initial_lr": settings.rate},
        {"params": [p for name, p in named if "trainable_tokens" in name], "initial_lr": settings.row_rate},
    ]
    groups = [{**group, "lr": group["initial_lr"]} for group in groups]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)


def make_schedule(optimizer: Any, settings: DpoSettings, steps: int, done: int) -> Any:
    """A linear rise over the first steps, then a cosine to a twentieth; it stands where `done` steps left it."""
    warm = max(1, round(steps * settings.warmup))

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor, last_epoch=done - 1)
