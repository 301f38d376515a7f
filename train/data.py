"""`takeback train data`: training rows from prompts and the base's own words about them."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convert.errors import TakebackError
from convert.whole_file import write_text
from train.data_report import Facts, Judge, write_report
from train.filters import REFUSES, draft_reason
from train.openings import opening, restated
from train.own_prompts import is_own
from train.prompts import Prompt, corpus_table
from train.readers import DRAFT_LABELS, read_labels
from train.refusals import ATTEMPTS, wanted_refusals, with_own_refusals
from train.replies import Wanted, read_lines
from train.rows import save_rows
from train.samplers import How, Sampler, open_sampler, sampled_with
from train.text import digest

Tell = Callable[[str], None]
DRAFT_TOKENS, TASK_TOKENS, REPLY_TOKENS, RESTATED_TOKENS = 64, 128, 96, 40


@dataclass(frozen=True)
class DataSettings:
    """How to build. `labels`: a reader's word on drafts by their digest, beyond the corpus'.

    `unread`: write the drafts that no reader has labelled to that CSV instead of the rows. `labelled_only`: no
    draft becomes a row unread.
    """

    base: Path
    out: Path
    batch: int = 64
    seed: int = 1
    how: How = "auto"
    gpu_layers: int = 0
    unread: Path | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    labelled_only: bool = False


def build(
    prompts: Sequence[Prompt], fate: Counter[tuple[str, str]], settings: DataSettings, tell: Tell
) -> None:
    """Sample what is not sampled yet, then write the rows and the report into `out`.

    train.jsonl is for training, heldout.jsonl for its log and the calibration, and heldout_prompts.jsonl has
    harmless prompts for an evaluation, which are in neither. `fate`: what became of the prompts that were read,
    by source and reason, for the report.
    """
    labels = {**corpus_table("draft_labels.csv"), **settings.labels}
    if settings.unread:
        _check_unread(settings.unread, labels)
    replies = settings.out / "replies.jsonl"
    try:
        settings.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TakebackError(f"{settings.out}: cannot be made: {error.strerror or error}") from error
    written = {prompt.text for prompt in prompts if prompt.safe}
    with open_sampler(
        settings.base, replies, how=settings.how, batch=settings.batch, seed=settings.seed,
        gpu_layers=settings.gpu_layers, tell=tell,
    ) as sampler:  # fmt: skip
        todo = wanted(prompts)
        sampler(todo)
        if not settings.unread:
            prompts = _with_refusals(prompts, replies, sampler)
    there = list(read_lines(replies))
    lines = [
        line for line in there if line["text"][len(line["opening"]) :].strip() and not line.get("system")
    ]
    if settings.unread:
        tell(f"{_write_unread(prompts, lines, labels, settings.unread)} drafts to read in {settings.unread}")
        return
    judge = fate_of(labels, labelled_only=settings.labelled_only)
    rows = list(training_rows(prompts, lines, judge))
    if not any(not held for held, _ in rows):
        raise TakebackError(
            "no reply became a row to train on; give more prompts, or read drafts (--unread, --labels)"
        )
    _save(prompts, rows, settings.out)
    by = sampled_with(replies)
    facts = Facts(settings.base.name, by, settings.seed, prompts, fate, todo, there, rows, judge, written)
    for line in write_report(facts, settings.out):
        tell(line)


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


def fate_of(labels: Mapping[str, str], *, labelled_only: bool = False) -> Judge:
    """What becomes of a draft: a reader's label, "unsafe" by a guess, or the reason why it is left out."""

    def judge(prompt: Prompt, line: Mapping[str, Any]) -> str:
        label = labels.get(digest(prompt.text, line["text"]))
        if label or labelled_only:
            return label or "unread"
        return draft_reason(line) if is_own(prompt) else _guess(line)

    return judge


def training_rows(
    prompts: Sequence[Prompt], lines: Sequence[Mapping[str, Any]], judge: Judge
) -> Iterator[tuple[bool, dict[str, Any]]]:
    """(held out, row) for every usable reply.

    A draft that is unsafe is taken back for the prompt's safe reply; one in four is also put under a harmless
    prompt, whose own reply is then what should follow, so that what is drafted is judged and not what was asked. A
    draft that is a refusal by a reader's label is a reply that must stand.
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
        label = judge(prompt, line)
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


def _with_refusals(prompts: Sequence[Prompt], replies: Path, sampler: Sampler) -> list[Prompt]:
    """The prompts, those of a user without a safe reply with the base's own refusal where it gives one."""
    own = [prompt for prompt in prompts if is_own(prompt)]
    if not own:
        return list(prompts)
    for attempt in ATTEMPTS:
        sampler(wanted_refusals(own, attempt))
        own = with_own_refusals(own, read_lines(replies))
    return [*(prompt for prompt in prompts if not is_own(prompt)), *own]


def _save(prompts: Sequence[Prompt], rows: Sequence[tuple[bool, dict[str, Any]]], out: Path) -> None:
    save_rows((row for held, row in rows if not held), out / "train.jsonl")
    save_rows((row for held, row in rows if held), out / "heldout.jsonl")
    save_rows(
        ({"prompt": p.text, "kind": p.kind} for p in prompts if p.for_evaluation and p.kind != "harmful"),
        out / "heldout_prompts.jsonl",
    )


def _benign(line: Mapping[str, Any]) -> dict[str, Any]:
    text = line["text"][len(line["opening"]) :]
    return {"prompt": line["prompt"], "prefill": line["opening"], "reply": text, "finished": line["finished"]}


def _is_short_answer(prompt: Prompt, line: Mapping[str, Any]) -> bool:
    return prompt.kind != "harmful" and line["finished"] and not line["opening"] and len(line["text"]) < 500


def _guess(line: Mapping[str, Any]) -> str:
    """For the corpus' drafts that nobody has read: those with an opening are mostly unsafe, the rest is left out."""
    if REFUSES.search(line["text"]):
        return "unread"
    return "unsafe" if line["opening"] else "unread"


def _check_unread(path: Path, labels: Mapping[str, str]) -> None:
    """Refuse to write over labels that were not given back yet."""
    if path.exists():
        there = read_labels(path, "draft_digest", DRAFT_LABELS)
        if any(mark not in labels for mark in there):
            raise TakebackError(f"{path} holds labels: give it as --labels, and --unread another name")


def _write_unread(
    prompts: Sequence[Prompt], lines: Sequence[Mapping[str, Any]], labels: Mapping[str, str], path: Path
) -> int:
    harmful = {prompt.text for prompt in prompts if prompt.kind == "harmful"}
    drafts = {digest(line["prompt"], line["text"]): line for line in lines if line["prompt"] in harmful}
    todo = [mark for mark in drafts if mark not in labels]
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["draft_digest", "label", "prompt", "draft"])
    writer.writerows([mark, "", drafts[mark]["prompt"], drafts[mark]["text"]] for mark in todo)
    write_text(path, table.getvalue())
    return len(todo)
