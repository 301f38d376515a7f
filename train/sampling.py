"""The base model's own replies, sampled in batches, resumable: what it says is what it must unlearn or keep."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError

from train.replies import Wanted, append, missing
from train.text import digest

Tell = Callable[[str], None]


def sample(
    model: Any, tokenizer: Any, wanted: Sequence[Wanted], out: Path, *, batch: int, seed: int, tell: Tell
) -> None:
    """Append a line to `out` for every wanted reply that it does not have, as `train.replies.append` says.

    Lines that are there already are kept, so an interrupted run goes on where it stopped.
    """
    todo = missing(wanted, out)
    began, count = time.monotonic(), 0
    tokenizer.padding_side = "left"
    for group in _groups(todo, batch):
        # The stream of random numbers follows from what is sampled, so a resumed run draws the same.
        torch.manual_seed(int(digest(str(seed), *(item.key for item in group)), 16) % 2**63)
        replies = zip(group, _replies(model, tokenizer, group), strict=True)
        append(out, [(item, text, finished) for item, (text, finished) in replies])
        count += len(group)
        left = (time.monotonic() - began) / count * (len(todo) - count)
        tell(f"sampled {count}/{len(todo)} replies, about {left / 60:.0f} min left")


def chat_text(tokenizer: Any, prompt: str, opening: str = "", system: str = "") -> str:
    """The chat template up to the reply's start, with the opening words after it.

    A template without system messages gets the system's words in the user's turn.
    """
    turn = [{"role": "user", "content": prompt}]
    if system:
        try:
            return _rendered(tokenizer, [{"role": "system", "content": system}, *turn]) + opening
        except TemplateError:
            turn = [{"role": "user", "content": f"{system}\n\n{prompt}"}]
    return _rendered(tokenizer, turn) + opening


def _rendered(tokenizer: Any, turns: list[dict[str, str]]) -> str:
    text: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return text


def _groups(items: Sequence[Wanted], batch: int) -> Iterator[list[Wanted]]:
    """Batches of equal temperature and limit, of prompts of like length, so that little is padded."""
    by_kind: dict[tuple[float, int], list[Wanted]] = {}
    for item in items:
        by_kind.setdefault((item.temperature, item.max_tokens), []).append(item)
    # Drafts first: they have to be read, while the rest is still being sampled.
    for kind in sorted(by_kind, reverse=True):
        group = sorted(by_kind[kind], key=lambda item: (len(item.prompt) + len(item.opening), item.key))
        yield from (group[i : i + batch] for i in range(0, len(group), batch))


def _replies(model: Any, tokenizer: Any, group: Iterable[Wanted]) -> Iterator[tuple[str, bool]]:
    items = list(group)
    texts = [chat_text(tokenizer, item.prompt, item.opening, item.system) for item in items]
    inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
    hot = items[0].temperature > 0
    ends = _ends(model, tokenizer)
    with torch.inference_mode():
        out = model.generate(
            **inputs,
            max_new_tokens=items[0].max_tokens,
            do_sample=hot,
            temperature=items[0].temperature if hot else None,
            top_k=50 if hot else None,
            eos_token_id=ends,
            pad_token_id=tokenizer.eos_token_id,
        )
    for item, row in zip(items, out[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
        stop = next((place for place, token in enumerate(row) if token in ends), None)
        yield item.opening + tokenizer.decode(row[:stop], skip_special_tokens=True), stop is not None


def _ends(model: Any, tokenizer: Any) -> list[int]:
    """The ids that end a reply: many chat models end a turn with another token than their tokenizer's last."""
    more = model.generation_config.eos_token_id
    known = [tokenizer.eos_token_id, *(more if isinstance(more, list) else [more])]
    return sorted({token for token in known if token is not None})
