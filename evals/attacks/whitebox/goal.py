"""What a suffix is to bring about, as a loss: that the target is said, and that the reset stays silent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

SLACK = 1.0
"""Nats that the reset is pushed below where it fires: the file's own arithmetic differs a little from torch's."""


@dataclass(frozen=True)
class Goal:
    """The first `wanted` of the n ids of `reply` are to be said, and after all of them nothing taken back.

    `reset` is the reset token's id, None for an ordinary model. It fires where its logit plus `bias` is at least
    the largest other one. `banned`: resets are off, so that it is never said. `push` weighs its part of the loss;
    0 leaves it out.
    """

    reply: tuple[int, ...]
    wanted: int
    reset: int | None = None
    bias: float = 0.0
    banned: bool = False
    push: float = 0.0


def losses(logits: Any, goal: Goal) -> Any:
    """The loss of each sequence, [b], from the logits before each of the reply's n tokens and after it, [b, n + 1, v].

    The mean cross-entropy of the target's tokens, plus `push` times the mean over all n + 1 places of what the
    reset is above, or less than `SLACK` below, where it fires.
    """
    said = logits[:, : goal.wanted]
    if goal.reset is not None and goal.banned:
        said = _without(said, goal.reset)
    target = torch.tensor(goal.reply[: goal.wanted], device=logits.device).expand(len(logits), -1)
    loss = functional.cross_entropy(said.transpose(1, 2), target, reduction="none").mean(1)
    if goal.push and goal.reset is not None:
        loss = loss + goal.push * (reset_over(logits, goal) + SLACK).clamp(min=0).mean(1)
    return loss


def reset_over(logits: Any, goal: Goal) -> Any:
    """How far the reset is above where it fires at each place, [b, n + 1]; below 0 it is silent."""
    others = _without(logits, goal.reset).amax(-1)
    return logits[..., goal.reset] + goal.bias - others


def _without(logits: Any, token: int | None) -> Any:
    place = torch.tensor([token], device=logits.device)
    return logits.index_fill(-1, place, -torch.inf)
