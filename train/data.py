"""`takeback train data`: the default model's rows, from public prompts, the corpus and the base's own words."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from train import grouped
from train.base import load_base
from train.openings import opening, restated
from train.prompts import Prompt, collect, corpus_table
from train.rows import save_rows
from train.sampling import Wanted, read_lines, sample
from train.text import digest

Tell = Callable[[str], None]
REFUSES = re.compile(
    r"\b(I('m| am) sorry|I can('t|not| not)|I('m| am) (not able|unable)|I (won't|will not)|as an AI|not appropriate"
    r"|against the law|is illegal|I('m| am) not (going|comfortable)|never okay|do not condone)",
    re.IGNORECASE,
)
DRAFT_TOKENS, TASK_TOKENS, REPLY_TOKENS, RESTATED_TOKENS = 64, 128, 96, 40


def build(
    sets: Path,
    out: Path,
    base: Path,
    exclude: Sequence[Path],
    batch: int,
    seed: int,
    unread: Path | None,
    tell: Tell,
) -> None:
    """Sample what is not sampled yet, then write the rows into `out`.

    train.jsonl is for training, heldout.jsonl for its log and the calibration, and heldout_prompts.jsonl has
    harmless prompts for an evaluation, which are in neither.

    With `unread`, write the drafts that no reader has labelled to that CSV instead of the rows.
    """
    prompts = collect(sets, exclude)
    out.mkdir(parents=True, exist_ok=True)
    replies = out / "replies.jsonl"
    todo = wanted(prompts)
    known = {line["key"] for line in read_lines(replies)}
    if any(item.key not in known for item in todo):
        _sample(base, todo, replies, batch, seed, tell)
    lines = [line for line in read_lines(replies) if line["text"][len(line["opening"]) :].strip()]
    labels = corpus_table("draft_labels.csv")
    if unread:
        tell(f"{_write_unread(prompts, lines, labels, unread)} drafts to read in {unread}")
        return
    rows = list(training_rows(prompts, lines, labels))
    save_rows((row for held, row in rows if not held), out / "train.jsonl")
    save_rows((row for held, row in rows if held), out / "heldout.jsonl")
    save_rows(
        ({"prompt": p.text, "kind": p.kind} for p in prompts if p.for_evaluation and p.kind != "harmful"),
        out / "heldout_prompts.jsonl",
    )
    counts = Counter(
        ("held out" if held else "train", "safety" if "unsafe" in row else "benign") for held, row in rows
    )
    tell(", ".join(f"{' '.join(kind)} rows: {count}" for kind, count in sorted(counts.items())))


def wanted(prompts: Sequence[Prompt]) -> list[Wanted]:
    """The replies to sample: drafts free and with openings, benign replies greedy, many with an opening too."""
    items = []
    openings = restated()
    for prompt in prompts:
        if again := openings.get(digest(prompt.text)):
            items.append(Wanted(prompt.text, again, 0.8, RESTATED_TOKENS))
        if prompt.kind == "harmful":
            items.append(Wanted(prompt.text, opening(prompt), 0.8, DRAFT_TOKENS))
            items.append(Wanted(prompt.text, "", 0.8, DRAFT_TOKENS))
            continue
        items.append(Wanted(prompt.text, "", 0.0, TASK_TOKENS if prompt.kind == "benign" else REPLY_TOKENS))
        if int(digest(prompt.text, "b"), 16) % 3 == 0:
            items.append(Wanted(prompt.text, opening(prompt), 0.8, REPLY_TOKENS))
    return items


def training_rows(
    prompts: Sequence[Prompt], lines: Sequence[Mapping[str, Any]], labels: Mapping[str, str]
) -> Iterator[tuple[bool, dict[str, Any]]]:
    """(held out, row) for every usable reply.

    A draft that readers called unsafe is taken back for the prompt's safe reply; one in four is also put under a
    harmless prompt, whose own reply is then what should follow, so that what is drafted is judged and not what was
    asked. A draft that is a refusal is a reply that must stand.
    """
    by_text = {prompt.text: prompt for prompt in prompts}
    stand_ins = [
        (by_text[line["prompt"]], line)
        for line in lines
        if line["prompt"] in by_text and _is_short_answer(by_text[line["prompt"]], line)
    ]
    for line in lines:
        prompt = by_text.get(line["prompt"])
        if prompt is None or prompt.for_evaluation:
            continue
        if prompt.kind != "harmful":
            yield prompt.held_out, _benign(line)
            continue
        label = labels.get(digest(prompt.text, line["text"])) or _guess(line)
        if label == "refusal":
            yield prompt.held_out, _benign(line)
        elif label == "unsafe" and prompt.safe:
            yield prompt.held_out, {"prompt": prompt.text, "unsafe": line["text"], "safe": prompt.safe}
            number = int(digest(line["key"], "crossed"), 16)
            if number % 4 == 0 and stand_ins:
                other, answer = stand_ins[number // 4 % len(stand_ins)]
                if other.held_out == prompt.held_out:
                    row = {"prompt": other.text, "unsafe": line["text"], "safe": answer["text"].strip()}
                    yield prompt.held_out, row


def _benign(line: Mapping[str, Any]) -> dict[str, Any]:
    text = line["text"][len(line["opening"]) :]
    return {"prompt": line["prompt"], "prefill": line["opening"], "reply": text, "finished": line["finished"]}


def _is_short_answer(prompt: Prompt, line: Mapping[str, Any]) -> bool:
    return prompt.kind != "harmful" and line["finished"] and not line["opening"] and len(line["text"]) < 500


def _guess(line: Mapping[str, Any]) -> str:
    """For drafts that nobody has read: those with an opening are mostly unsafe, the rest is left out."""
    if REFUSES.search(line["text"]):
        return "unread"
    return "unsafe" if line["opening"] else "unread"


def _write_unread(
    prompts: Sequence[Prompt], lines: Sequence[Mapping[str, Any]], labels: Mapping[str, str], path: Path
) -> int:
    harmful = {prompt.text for prompt in prompts if prompt.kind == "harmful"}
    drafts = {digest(line["prompt"], line["text"]): line for line in lines if line["prompt"] in harmful}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["draft_digest", "label", "prompt", "draft"])
        todo = [mark for mark in drafts if mark not in labels]
        writer.writerows([mark, "", drafts[mark]["prompt"], drafts[mark]["text"]] for mark in todo)
    return len(todo)


def _sample(base: Path, todo: Sequence[Wanted], replies: Path, batch: int, seed: int, tell: Tell) -> None:
    model, tokenizer = load_base(base, torch.bfloat16)
    model.set_attn_implementation(grouped.NAME)
    sample(model.eval(), tokenizer, todo, replies, batch=batch, seed=seed, tell=tell)
