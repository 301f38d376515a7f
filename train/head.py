"""The output head and the loss on it in one pass, with the gradient made at once.

Logits over a whole vocabulary are the largest thing in training: [n, v] floats, and autograd would keep several of
them. Here they live for CHUNK positions at a time, and the gradients of hidden states, reset's row and head (where
it is trained at all) follow from what the forward pass has in hand.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from train.output import PLAIN, LogitRule, shaped, slope

CHUNK = 256
ABSENT = -1e4
"""Stands for the reset's logit among the others: far below all, and finite."""


def other_logits(states: Any, head: Any, reset_id: int, rule: LogitRule = PLAIN) -> Any:
    """Logits [n, v] in float32 of all tokens but the reset, whose own place is far below every other."""
    logits = shaped((states.to(head.dtype) @ head.T).float(), rule)
    logits[:, reset_id] = ABSENT
    return logits


class HeadLoss(torch.autograd.Function):
    """The four weighted sums of the objective over n positions, and the reset's margin at each.

    With z the other logits, L = logsumexp(z), p = softmax(z), r the reset's logit, s the margin r - L, q the
    teacher's distribution and t the next token, a position adds
        reset  softplus(-s)     forbid  softplus(s)     words  L - z[t]     keep_model  KL(q || p)
    and its gradient with respect to z is  p (words + keep_model - ds) - words onehot(t) - keep_model q,  where ds is
    that of the first two with respect to s. Where the logits are scaled or capped (train/output.py), z and r are what
    comes out of that, and its slope is the last factor of the gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Any,
        row: Any,
        head: Any,
        marks: Any,
        targets: Any,
        teacher: Any,
        reset_id: int,
        rule: LogitRule = PLAIN,
        taught_by: Any = None,
    ) -> tuple[Any, Any]:
        """states [n, d], row [d], head [v, d], marks [4, n], targets [n], teacher [n, d] -> sums [4], margins [n].

        `taught_by` is the head [v, d] that the teacher's states belong to, where it is not `head` itself.
        """
        sums = torch.zeros(4, device=states.device)
        margins = torch.empty(len(states), device=states.device)
        grad_states = torch.empty(states.shape, device=states.device)
        grad_row = torch.zeros(row.shape, device=states.device)
        grad_head = torch.zeros(head.shape, device=states.device) if ctx.needs_input_grad[2] else None
        base_head = head if taught_by is None else taught_by
        with torch.autocast(states.device.type, enabled=False):
            for at in range(0, len(states), CHUNK):
                part = slice(at, at + CHUNK)
                heads = (head, base_head)
                weighed = (marks[:, part], targets[part], teacher[part])
                found = _chunk(states[part].float(), row.float(), heads, *weighed, reset_id, rule)
                added, margins[part], grad, d_reset = found
                sums += added
                grad_states[part] = (grad.to(head.dtype) @ head).float() + d_reset[:, None] * row.float()
                grad_row += d_reset @ states[part].float()
                if grad_head is not None:
                    grad_head += (grad.to(head.dtype).T @ states[part].to(head.dtype)).float()
        kept = None if grad_head is None else grad_head.to(head.dtype)
        ctx.save_for_backward(grad_states.to(states.dtype), grad_row.to(row.dtype), kept)
        ctx.mark_non_differentiable(margins)
        return sums, margins

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        """Scale what forward made; the four sums must be weighed alike, as a sum of them does."""
        grad_states, grad_row, grad_head = ctx.saved_tensors
        scale = grads[0][0]
        of_head = None if grad_head is None else grad_head * scale
        return grad_states * scale, grad_row * scale, of_head, *[None] * 6


def _chunk(
    states: Any,
    row: Any,
    heads: tuple[Any, Any],
    marks: Any,
    targets: Any,
    teacher: Any,
    reset_id: int,
    rule: LogitRule,
) -> tuple[Any, Any, Any, Any]:
    """(sums [4], margins [m], gradient of their total for the products h.w: others' [m, v], the reset's [m])."""
    reset, forbid, words, keep = marks
    logits = other_logits(states, heads[0], reset_id, rule)
    total = logits.logsumexp(-1)
    own = shaped(states @ row, rule)
    margin = own - total
    chosen = logits.gather(1, targets[:, None]).squeeze(1)
    d_margin = forbid * margin.sigmoid() - reset * (-margin).sigmoid()
    at = (keep > 0).nonzero().squeeze(1)
    kept = torch.zeros((), device=states.device)
    target = None
    if len(at):
        target = other_logits(teacher[at], heads[1], reset_id, rule).log_softmax(-1)
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
    bend = None if rule == PLAIN else slope(logits, rule)
    grad = logits.sub_(total[:, None]).exp_().mul_((words + keep - d_margin)[:, None])
    grad.scatter_add_(1, targets[:, None], -words[:, None])
    if target is not None:
        grad.index_add_(0, at, target.mul_(-keep[at, None]))
    if bend is None:
        return sums, margin, grad, d_margin
    return sums, margin, grad.mul_(bend), d_margin * slope(own, rule)
