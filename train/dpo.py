"""Preference training of a backtracking model (DPO), by TRL's trainer, on pairs of train/pairs.py.

The reference is the supervised result that the run starts from. Its log-probabilities of both sides of every pair
are measured once and kept beside the run, so that one model is in memory. The loss is

    -log sigmoid(beta * margin)  +  chosen * (mean cross entropy of the chosen side's tokens)

where the margin is the growth of log p(chosen) over the reference less that of log p(rejected). The first term alone
can be lowered by making both sides unlikely (likelihood displacement, arXiv 2410.08847): the second forbids it, and
the log has `chosen_gain`, the mean growth of log p(chosen) in nats, which should not fall below 0.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from assistant.locks import only_writer
from convert.errors import TakebackError, UsageError
from train import checkpoint, heldout
from train.dpo_settings import DpoSettings
from train.dpo_trainer import dataset, log_probabilities, make_optimizer, make_schedule, make_trainer
from train.earlier_result import Start, load_start, origin
from train.encode import Encoder
from train.pairs import Pair, count, make_pairs, order
from train.record import training_record, write_result
from train.rows import Row, file_sha256, load_rows
from train.whole_tensors import read_tensors, write_tensors

Tell = Callable[[str], None]
SAVE_EVERY = 10
"""Steps between checkpoints: a kill costs no more than these."""


def train(settings: DpoSettings, tell: Tell) -> Path:
    """Run or resume a training run; returns the folder of the finished adapter.

    Raises TakebackError on bad rows, a start that is no supervised result, or an output folder of another run.
    """
    if settings.batch % settings.pieces:
        raise UsageError(f"--batch {settings.batch} cannot be computed in {settings.pieces} like --pieces")
    checkpoint.keep_apart(settings.out, settings.base, settings.adapter)
    rows = load_rows(settings.data)
    heldout_rows = load_rows(settings.heldout) if settings.heldout else []
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    start = load_start(settings.base, settings.adapter, settings.rank)
    settings = replace(settings, reset_token=start.record.reset_token, after_reset=start.record.after_reset)
    checkpoint.claim(settings.out, _fingerprint(settings))
    encoder = Encoder(start.tokenizer, start.reset_id, settings.max_length)
    pairs = _pairs(rows, encoder, settings, str(settings.data))
    tell("pairs: " + ", ".join(f"{number} {kind}" for kind, number in count(pairs).items()))
    look = _pairs(heldout_rows, encoder, settings, str(settings.heldout)) if heldout_rows else []
    told = training_record(settings, rows)
    told |= {"start": origin(settings.adapter, start.record), "pairs": count(pairs), "trl": version("trl")}
    run = _Run(start, settings, pairs, look, heldout_rows, encoder, tell)
    if not run.is_main:
        run.go()
        return settings.out
    with only_writer(settings.out):
        run.go()
        write_result(start.model, start.tokenizer, start.reset_id, settings, told, "dpo")
        tell(f"done: the adapter is in {settings.out}")
    return settings.out


def _pairs(rows: Sequence[Row], encoder: Encoder, settings: DpoSettings, where: str) -> list[Pair]:
    return make_pairs(rows, encoder, settings.shares, settings.tail, settings.seed, where)


def _fingerprint(settings: DpoSettings) -> str:
    """What a run depends on, as text: its settings, and the contents of its data and of its start."""
    given = [settings.data, settings.heldout]
    if settings.adapter:
        given.append(settings.adapter / "adapter_model.safetensors")
    else:  # the start is a whole checkpoint
        given += sorted(settings.base.glob("*.safetensors"))
    told = asdict(settings) | {"threads": 0, "every": 0} | dict.fromkeys(("out", "heldout", "adapter"), "")
    return json.dumps(
        told | {"data": [file_sha256(path) for path in given if path]}, default=str, sort_keys=True
    )


class _Run:
    """A trainer with its optimizer, schedule, reference and log."""

    def __init__(
        self,
        start: Start,
        settings: DpoSettings,
        pairs: Sequence[Pair],
        look: Sequence[Pair],
        heldout_rows: Sequence[Row],
        encoder: Encoder,
        tell: Tell,
    ) -> None:
        self.model, self.settings, self.tell = start.model, settings, tell
        self.look, self.heldout_rows, self.encoder = look, heldout_rows, encoder
        self.rule = start.rule
        self.optimizer = make_optimizer(start.model, settings)
        self.trainer = make_trainer(start, settings, pairs, self.optimizer)
        self.workers = self.trainer.accelerator.num_processes
        self.steps = math.ceil(len(pairs) * settings.epochs / (settings.batch * self.workers))
        self.is_main = bool(self.trainer.accelerator.is_main_process)
        self.log = checkpoint.Log(settings.out / "log.jsonl", self.is_main)
        self.pairs = pairs

    def go(self) -> None:
        """Train from the last checkpoint, or from the start, to the end."""
        # Before a checkpoint is put back the model is the reference.
        reference = self._reference([*self.pairs, *self.look])
        self.seen, self.looked = reference[: len(self.pairs)], reference[len(self.pairs) :]
        self.done = checkpoint.resume(self.settings.out, self.model, self.optimizer)
        if self.done >= self.steps:
            return
        if not self.done:
            self.measure(0)
        batch = self.settings.batch * self.workers
        lengths = [len(pair.context) + max(len(pair.chosen), len(pair.rejected)) for pair in self.pairs]
        todo = order(lengths, self.steps, batch, self.settings.seed)[self.done * batch :]
        self.trainer.train_dataset = dataset([self.pairs[n] for n in todo], self.seen[todo])
        self.trainer.args.max_steps = self.steps - self.done
        self.trainer.lr_scheduler = make_schedule(self.optimizer, self.settings, self.steps, self.done)
        self.trainer.add_callback(_Callback(self))
        self.trainer.train()

    def measure(self, step: int) -> None:
        """Log margins on held-out pairs, kind by kind, and detection on held-out rows."""
        if not self.look or not self.log.active:
            return
        gain = log_probabilities(self.trainer, self.look) - self.looked
        margin = gain[:, 0] - gain[:, 1]
        kinds = [pair.kind for pair in self.look]
        figures = {
            f"margin_{kind}": float(margin[[k == kind for k in kinds]].mean())
            for kind in dict.fromkeys(kinds)
        }
        figures |= {"accuracy": float((margin > 0).float().mean()), "chosen_gain": float(gain[:, 0].mean())}
        figures |= heldout.measure(
            self.model, self.heldout_rows, self.encoder, self.encoder.end, rule=self.rule
        )
        self.log.write(step, figures, self.tell)

    def _reference(self, pairs: Sequence[Pair]) -> Any:
        """The reference's log-probabilities [n, 2] of all pairs; kept beside the run."""
        kept = self.settings.out / "reference.safetensors"
        known = kept.exists()
        self.trainer.accelerator.wait_for_everyone()  # or a slower process would find what a faster one wrote
        if known:
            return read_tensors(kept)["log_probabilities"]
        found = log_probabilities(self.trainer, pairs, self.tell if self.log.active else None)
        if self.log.active:
            write_tensors(kept, {"log_probabilities": found})
        return found


class _Callback(TrainerCallback):
    """What the trainer's loop says, into the run's log and its checkpoints."""

    def __init__(self, run: _Run) -> None:
        self.run = run
        self.began = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float], **_: Any) -> None:
        """Log one step, then keep a checkpoint and look at the held-out pairs, every so many steps and at the end."""
        if "loss" not in logs:  # the trainer's summary at the end
            return
        run, step = self.run, self.run.done + state.global_step
        if not (math.isfinite(logs["loss"]) and math.isfinite(logs["grad_norm"])):
            raise TakebackError(
                f"the loss is not a number at step {step}: lower --rate, or resume from a checkpoint"
            )
        left = (time.monotonic() - self.began) / state.global_step * (run.steps - step)
        run.log.step(step, run.steps, logs["loss"], _figures(logs, run.settings.beta), left, run.tell)
        last = step == run.steps
        if run.log.active and (last or step % SAVE_EVERY == 0):
            checkpoint.save(run.settings.out, step, run.model, run.optimizer)
        if last or step % run.settings.every == 0:
            run.measure(step)


def _figures(logs: Mapping[str, float], beta: float) -> dict[str, float]:
    """What the log says of a step, in nats: TRL's rewards are beta times a growth over the reference."""
    return {
        "margin": logs["rewards/margins"] / beta,
        "accuracy": logs["rewards/accuracies"],
        "logp_chosen": logs["logps/chosen"],
        "logp_rejected": logs["logps/rejected"],
        "chosen_gain": logs["rewards/chosen"] / beta,
    }
