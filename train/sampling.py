"""The base model's own replies, sampled in batches, resumable: what it says is what it must unlearn or keep."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from train.text import digest

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """One reply to sample: a prompt, the words the reply is made to open with, and how freely to sample."""

    prompt: str
    opening: str = ""
    temperature: float = 0.8
    max_tokens: int = 96

    @property
    def key(self) -> str:
        """What the reply is known by in the output: the same request is never sampled twice."""
        return digest(self.prompt, self.opening, f"{self.temperature:.2f}", str(self.max_tokens))


def sample(
    model: Any, tokenizer: Any, wanted: Sequence[Wanted], out: Path, *, batch: int, seed: int, tell: Tell
) -> None:
    """Append a JSON line {key, prompt, opening, temperature, text, finished} to `out` for every wanted reply.

    Lines that are there already are kept, so an interrupted run goes on where it stopped. `text` includes the
    opening; `finished` tells whether the model ended by itself within max_tokens.
    """
    done = {line["key"] for line in read_lines(out)}
    todo = [item for item in wanted if item.key not in done]
    began, count = time.monotonic(), 0
    tokenizer.padding_side = "left"
    with out.open("a", encoding="utf-8") as file:
        for group in _groups(todo, tokenizer, batch):
            # The stream of random numbers follows from what is sampled, so a resumed run draws the same.
            torch.manual_seed(int(digest(str(seed), *(item.key for item in group)), 16) % 2**63)
            for item, (text, finished) in zip(group, _replies(model, tokenizer, group), strict=True):
                line = {**asdict(item), "key": item.key, "text": text, "finished": finished}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
            count += len(group)
            left = (time.monotonic() - began) / count * (len(todo) - count)
            tell(f"sampled {count}/{len(todo)} replies, about {left / 60:.0f} min left")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file written by `sample`; a last line cut off by a kill is passed over."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def chat_text(tokenizer: Any, prompt: str, opening: str = "") -> str:
    """The chat template up to the reply's start, with the opening words after it."""
    turn = [{"role": "user", "content": prompt}]
    text: str = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    return text + opening


def _groups(items: Sequence[Wanted], tokenizer: Any, batch: int) -> Iterator[list[Wanted]]:
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
    texts = [chat_text(tokenizer, item.prompt, item.opening) for item in items]
    inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
    hot = items[0].temperature > 0
    with torch.inference_mode():
        out = model.generate(
            **inputs,
            max_new_tokens=items[0].max_tokens,
            do_sample=hot,
            temperature=items[0].temperature if hot else None,
            top_k=50 if hot else None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
        )
    for item, row in zip(items, out[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
        finished = tokenizer.eos_token_id in row
        ids = row[: row.index(tokenizer.eos_token_id)] if finished else row
        yield item.opening + tokenizer.decode(ids, skip_special_tokens=True), finished
