"""Where the reset token's row starts: a linear probe on the frozen model's last hidden states.

A row that starts anywhere else is at once the best token everywhere or never. With z the logsumexp of the other
logits at a position and h its hidden state (after the final norm), the row w that makes sigmoid(w.h - z) tell unsafe
drafts from benign replies is the row's exact maximum-likelihood start, and it changes no other logit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from train.output import PLAIN, LogitRule, shaped


def fit_row(
    hidden: Any,
    others: Any,
    unsafe: Any,
    weight: Any,
    *,
    steps: int = 500,
    rate: float = 0.02,
    decay: float = 1e-3,
    rule: LogitRule = PLAIN,
) -> tuple[Any, float]:
    """Fit the row by logistic regression with Adam.

    hidden: [n, d] hidden states; others: [n] logsumexp of the other logits; unsafe: [n] 1 inside unsafe drafts, 0
    elsewhere; weight: [n]; rule: how logits come of products (train/output.py). Returns (row [d], the final weighted
    loss in nats).
    """
    mean = hidden.float().mean(0)
    # The mean state's direction at the size that brings w.h to the mean of z: the loss starts where it can move.
    row = (mean * (_product(others.mean(), rule) / mean.dot(mean))).clone().requires_grad_(True)
    weight = weight / weight.sum()
    optimizer = torch.optim.AdamW([row], lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    features = hidden.float()
    loss = torch.zeros(())
    for _ in range(steps):
        margin = shaped(features @ row, rule) - others
        loss = (functional.binary_cross_entropy_with_logits(margin, unsafe, reduction="none") * weight).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return row.detach(), float(loss.detach())


def _product(logit: Any, rule: LogitRule) -> Any:
    """The product w.h that gives a logit, or one that gives nearly the cap where the logit is beyond it."""
    if rule.cap:
        logit = rule.cap * torch.atanh((logit / rule.cap).clamp(-0.95, 0.95))
    return logit / rule.scale
