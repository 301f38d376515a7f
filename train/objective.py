"""The training objective: the paper's two terms, in the dense form, and what keeps the model itself.

With s = logit[R] - logsumexp(other logits), the reset's probability is sigmoid(s), so at every position
    -log p(R)       = softplus(-s)    where the reset is right,
    -log(1 - p(R))  = softplus(s)     where it is wrong,
    -log p(y | no reset)              the cross entropy among the other tokens.
The second and the third together are the ordinary cross entropy of y, so the paper's loss (arXiv 2409.14586,
section 3) is kept term by term; only the weights are ours:
  - reset: mean over a draft's positions, which is the expectation over its prefixes;
  - forbid: the *sum* over a reply, since a benign reply must survive every token of it;
  - words: cross entropy on safe replies, and on benign ones the divergence from the base's own distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from train.encode import Example
from train.head import HeadLoss
from train.output import PLAIN, LogitRule, backbone, output_rows
from train.settings import LossWeights

TERMS = ("reset", "forbid", "words", "keep_model")


@dataclass(frozen=True)
class Batch:
    """Padded ids [b, t]; for every position [b, t - 1] the weight of each target, the next id, the teacher's state.

    `marks` is [4, b, t - 1]: reset, forbid, words, and the divergence from the teacher. `states` is
    [b, t - 1, d] where a teacher's last hidden state is known, zero elsewhere.
    """

    ids: Any
    marks: Any
    targets: Any
    states: Any

    def to(self, device: Any) -> Batch:
        """The same batch on another device."""
        moved = (self.ids, self.marks, self.targets, self.states)
        return Batch(*(tensor.to(device) for tensor in moved))


def collate(examples: Sequence[Example], teachers: Sequence[Any], weights: LossWeights, pad: int) -> Batch:
    """Pad and weigh. `teachers[n]` holds the base's last hidden states [m, d] over row n's reply, or None."""
    width = max(len(example.ids) for example in examples)
    depth = next((len(state[0]) for state in teachers if state is not None), 1)
    ids = torch.full((len(examples), width), pad)
    marks = torch.zeros(4, len(examples), width - 1)
    states = torch.zeros(len(examples), width - 1, depth, dtype=torch.bfloat16)
    for i, example in enumerate(examples):
        size = len(example.ids) - 1
        ids[i, : size + 1] = torch.tensor(example.ids)
        reset, forbid, words = (torch.tensor(w) for w in (example.reset, example.forbid, example.words))
        marks[0, i, :size] = reset * (weights.reset / reset.sum().clamp(min=1.0))
        marks[1, i, :size] = forbid * weights.forbid
        share = words / words.sum().clamp(min=1.0)
        state = None if example.teacher is None else teachers[example.teacher]
        if state is None:
            marks[2, i, :size] = share * weights.words * (weights.direct if example.form == "direct" else 1.0)
            continue
        stop = min(size, example.teacher_at + len(state))
        span = slice(example.teacher_at, stop)
        marks[3, i, span] = share[span] * weights.keep_model
        states[i, span] = state[: stop - example.teacher_at].to(states.dtype)
    return Batch(ids, marks, ids[:, 1:].contiguous(), states)


class Objective(torch.nn.Module):
    """The model and the loss in one module, so that accelerate's data parallelism wraps both.

    The reset's logit is computed apart from the other tokens'. Their output rows are frozen, unless `base_head` is
    given: a copy of the base's output matrix [v, d], which the teacher's states belong to.
    """

    def __init__(self, model: Any, reset_id: int, rule: LogitRule = PLAIN, base_head: Any = None) -> None:
        super().__init__()
        self.model = model
        self.reset_id = reset_id
        self.rule = rule
        self.base_head = (
            None if base_head is None else (base_head,)
        )  # no buffer, or every step would send it round

    def forward(self, batch: Batch) -> tuple[Any, dict[str, float]]:
        """The loss, a mean over sequences, and the figures for the log."""
        hidden = backbone(self.model)(batch.ids).last_hidden_state[:, :-1]
        return self.loss(hidden, batch)

    def loss(self, hidden: Any, batch: Batch) -> tuple[Any, dict[str, float]]:
        """The loss on hidden states [b, t - 1, d] (after the final norm)."""
        picked = (batch.marks > 0).any(0).flatten().nonzero().squeeze(1)
        marks = batch.marks.flatten(1)[:, picked]
        head, row = output_rows(self.model, self.reset_id)
        if self.base_head is None:
            head = head.detach()
        kind = head.device.type
        if torch.is_autocast_enabled(kind):
            head = head.to(torch.get_autocast_dtype(kind))
        sums, margin = HeadLoss.apply(
            hidden.flatten(0, 1)[picked],
            row,
            head,
            marks,
            batch.targets.flatten()[picked],
            batch.states.flatten(0, 1)[picked],
            self.reset_id,
            self.rule,
            self.base_head and self.base_head[0],
        )
        count = len(batch.ids)
        figures = dict(zip(TERMS, (sums.detach() / count).tolist(), strict=True))
        return sums.sum() / count, figures | _figures(margin, marks)


def _figures(margin: Any, marks: Any) -> dict[str, float]:
    """Mean probability of the reset where it is right and where it is wrong."""
    chance = margin.sigmoid()
    right, wrong = chance[marks[0] > 0], chance[marks[1] > 0]
    return {
        "p_reset_unsafe": float(right.mean()) if len(right) else float("nan"),
        "p_reset_benign": float(wrong.mean()) if len(wrong) else float("nan"),
    }
