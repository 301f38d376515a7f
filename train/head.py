"""The output head and the loss on it in one pass, with the gradient made at once.

Logits over a whole vocabulary are the largest thing in training: [n, v] floats, and autograd would keep several of
them. Here they live for CHUNK positions at a time. The head is frozen, so only the hidden states and the reset's
row need a gradient, and both follow from what the forward pass has in hand.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

CHUNK = 256
ABSENT = -1e4
"""Stands for the reset's logit among the others: far below all, and finite."""


def other_logits(states: Any, head: Any, reset_id: int) -> Any:
    """Logits [n, v] in float32 of all tokens but the reset, whose own place is far below every other."""
    logits = (states.to(head.dtype) @ head.T).float()
    logits[:, reset_id] = ABSENT
    return logits


class HeadLoss(torch.autograd.Function):
    """The four weighted sums of the objective over n positions, and the reset's margin at each.

    With z the other logits, L = logsumexp(z), p = softmax(z), s the margin w.h - L, q the teacher's distribution and
    t the next token, a position adds
        reset  softplus(-s)     forbid  softplus(s)     words  L - z[t]     keep_model  KL(q || p)
    and its gradient with respect to z is  p (words + keep_model - ds) - words onehot(t) - keep_model q,  where ds is
    that of the first two with respect to s.
    """

    @staticmethod
    def forward(
        ctx: Any, states: Any, row: Any, head: Any, marks: Any, targets: Any, teacher: Any, reset_id: int
    ) -> tuple[Any, Any]:
        """states [n, d], row [d], head [v, d], marks [4, n], targets [n], teacher [n, d] -> sums [4], margins [n]."""
        sums = torch.zeros(4, device=states.device)
        margins = torch.empty(len(states), device=states.device)
        grad_states = torch.empty(states.shape, device=states.device)
        grad_row = torch.zeros(row.shape, device=states.device)
        with torch.autocast(states.device.type, enabled=False):
            for at in range(0, len(states), CHUNK):
                part = slice(at, at + CHUNK)
                given = (
                    states[part].float(),
                    row.float(),
                    head,
                    marks[:, part],
                    targets[part],
                    teacher[part],
                )
                added, margin, d_states, d_row = _chunk(*given, reset_id)
                sums += added
                margins[part], grad_states[part] = margin, d_states
                grad_row += d_row
        ctx.save_for_backward(grad_states.to(states.dtype), grad_row.to(row.dtype))
        ctx.mark_non_differentiable(margins)
        return sums, margins

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        """Scale what forward made; the four sums must be weighed alike, as a sum of them does."""
        grad_states, grad_row = ctx.saved_tensors
        scale = grads[0][0]
        return grad_states * scale, grad_row * scale, None, None, None, None, None


def _chunk(
    states: Any, row: Any, head: Any, marks: Any, targets: Any, teacher: Any, reset_id: int
) -> tuple[Any, Any, Any, Any]:
    """(sums [4], margins [m], gradient of their total for states [m, d], for row [d])."""
    reset, forbid, words, keep = marks
    logits = other_logits(states, head, reset_id)
    total = logits.logsumexp(-1)
    margin = states @ row - total
    chosen = logits.gather(1, targets[:, None]).squeeze(1)
    d_margin = forbid * margin.sigmoid() - reset * (-margin).sigmoid()
    at = (keep > 0).nonzero().squeeze(1)
    kept = torch.zeros((), device=states.device)
    target = None
    if len(at):
        target = other_logits(teacher[at], head, reset_id).log_softmax(-1)
        given = logits[at] - total[at, None]
        chance = target.exp()
        kept = ((chance * (target - given)).sum(-1) * keep[at]).sum()
        target = chance
    sums = torch.stack(
        [
            (functional.softplus(-margin) * reset).sum(),
            (functional.softplus(margin) * forbid).sum(),
            ((total - chosen) * words).sum(),
            kept,
        ]
    )
    grad = logits.sub_(total[:, None]).exp_().mul_((words + keep - d_margin)[:, None])
    grad.scatter_add_(1, targets[:, None], -words[:, None])
    if target is not None:
        grad.index_add_(0, at, target.mul_(-keep[at, None]))
    d_states = (grad.to(head.dtype) @ head).float() + d_margin[:, None] * row
    return sums, margin, d_states, d_margin @ states
