"""The frozen base's last hidden states over the data: the probe's features, and the teacher of benign replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from train.encode import Example
from train.head import other_logits
from train.output import PLAIN, LogitRule, backbone
from train.whole_tensors import read_tensors, write_tensors


def hidden_states(
    model: Any, examples: Sequence[Example], starts: Sequence[int], pad: int, tell: Callable[[int, int], None]
) -> list[Any]:
    """States [m, d] in bfloat16 (after the final norm) of each example from position `starts[n]` on."""
    order = sorted(range(len(examples)), key=lambda n: len(examples[n].ids))
    out: list[Any] = [None] * len(examples)
    for i in range(0, len(order), 16):
        group = order[i : i + 16]
        width = max(len(examples[n].ids) for n in group)
        ids = torch.full((len(group), width), pad)
        for row, n in enumerate(group):
            ids[row, : len(examples[n].ids)] = torch.tensor(examples[n].ids)
        with torch.inference_mode():
            states = backbone(model)(ids.to(model.device)).last_hidden_state
        for row, n in enumerate(group):
            out[n] = states[row, starts[n] : len(examples[n].ids) - 1].to("cpu", torch.bfloat16).clone()
        tell(min(i + 16, len(order)), len(order))
    return out


def logsumexp(states: Any, head: Any, reset_id: int, rule: LogitRule = PLAIN) -> Any:
    """logsumexp [n] of all logits but the reset's of hidden states [n, d] under the head [v, d], in pieces."""
    with torch.inference_mode():
        pieces = [
            other_logits(part.to(head.device), head, reset_id, rule).logsumexp(-1).cpu()
            for part in states.split(512)
        ]
    return torch.cat(pieces)


def remember(states: Sequence[Any], path: Path) -> None:
    """Keep the states beside the run, so that a resumed one need not compute them again."""
    lengths = torch.tensor([len(state) for state in states])
    write_tensors(path, {"lengths": lengths, "states": torch.cat(list(states))})


def recall(path: Path) -> list[Any] | None:
    """What `remember` kept, or None."""
    if not path.exists():
        return None
    held = read_tensors(path)
    return list(held["states"].split(held["lengths"].tolist()))
