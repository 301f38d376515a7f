"""Greedy coordinate gradient (Zou et al. 2023): one token of a suffix changes a step, for the largest gain.

The gradient of the loss with respect to each place's choice of token says which tokens might help; some of these
changes are tried, and the best is kept. The adaptive attack is the same search with another loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from evals.attacks.cost import Cost
from evals.attacks.plan import Limits
from evals.attacks.pursuit import Step
from evals.attacks.suffix import Slots
from evals.attacks.whitebox.goal import Goal, losses, reset_over

Suffix = tuple[int, ...]
_BATCH_TOKENS = 4096
_DRAWS = 4  # times the width: some changes cannot be typed


def search(
    model: Any,
    slots: Slots,
    goal: Goal,
    usable: Sequence[int],
    typed: Callable[[Suffix], str | None],
    limits: Limits,
    seed: int,
    cost: Cost,
) -> Iterator[Step]:
    """The best suffix so far, step by step, without end. `typed` gives the message for a suffix, if there is one.

    Each step goes on from the best of its own candidates, better or not, as in the paper: that leaves hollows.
    """
    chance = torch.Generator().manual_seed(seed)
    allowed = torch.tensor(list(usable))
    now, text = slots.first, typed(slots.first) or slots.request
    best = Step(text, float("inf"))
    length = len(slots.ids(now)) + len(goal.reply)
    while True:
        gradient = _gradient(model, slots, goal, now)[:, allowed]
        options = allowed[(-gradient).topk(min(limits.top, len(allowed)), dim=1).indices]
        tried = _candidates(now, options, typed, limits.width, chance) or {now: text}
        found, over = _try(model, slots, goal, list(tried))
        cost.read(1 + len(tried), length)
        place = int(found.argmin())
        now, text = list(tried.items())[place]
        if float(found[place]) < best.loss:
            best = Step(text, float(found[place]), None if over is None else float(over[place]))
        yield best


def _gradient(model: Any, slots: Slots, goal: Goal, suffix: Suffix) -> Any:
    """How the loss changes with each place's weight on each token, [places, v]."""
    embedding = model.get_input_embeddings()
    table, scale = (
        embedding.weight,
        getattr(embedding, "embed_scale", 1.0),
    )  # Gemma's scales what is looked up
    chosen = torch.zeros(len(suffix), len(table), device=table.device, dtype=table.dtype)
    chosen[torch.arange(len(suffix)), list(suffix)] = 1.0
    chosen.requires_grad_()
    ids = torch.tensor([*slots.head, *slots.tail, *goal.reply], device=table.device)
    head, rest = embedding(ids).split([len(slots.head), len(ids) - len(slots.head)])
    embeds = torch.cat([head, chosen @ table * scale, rest])[None]
    logits = model(inputs_embeds=embeds, logits_to_keep=len(goal.reply) + 1).logits
    (found,) = torch.autograd.grad(losses(logits, goal).sum(), chosen)
    return found.cpu()


def _candidates(
    now: Suffix,
    options: Any,
    typed: Callable[[Suffix], str | None],
    width: int,
    chance: Any,
) -> dict[Suffix, str]:
    """At most `width` suffixes and their messages, each with one token changed to one of `options` [places, top]."""
    found: dict[Suffix, str] = {}
    for _ in range(_DRAWS * width):
        place = int(torch.randint(len(now), (), generator=chance))
        token = int(options[place, int(torch.randint(options.shape[1], (), generator=chance))])
        changed = (*now[:place], token, *now[place + 1 :])
        text = typed(changed) if changed != now and changed not in found else None
        if text is not None:
            found[changed] = text
            if len(found) == width:
                break
    return found


def _try(model: Any, slots: Slots, goal: Goal, tried: Sequence[Suffix]) -> tuple[Any, Any]:
    """The loss of each suffix, and how far the reset is above where it fires, the mean over the places; both [b].

    The second is None where no reset can fire.
    """
    rows = [[*slots.ids(suffix), *goal.reply] for suffix in tried]
    size = max(1, _BATCH_TOKENS // len(rows[0]))
    found, over = [], []
    with torch.inference_mode():
        for start in range(0, len(rows), size):
            ids = torch.tensor(rows[start : start + size], device=model.device)
            logits = model(input_ids=ids, logits_to_keep=len(goal.reply) + 1).logits
            found.append(losses(logits, goal).cpu())
            if goal.reset is not None and not goal.banned:
                over.append(reset_over(logits, goal).mean(1).cpu())
    return torch.cat(found), torch.cat(over) if over else None
