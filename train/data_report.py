"""What was read, dropped, sampled and kept on the way to the rows: report.json, and report.md for people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from convert.untrusted import clean_line
from convert.whole_file import write_text
from train.prompts import Prompt
from train.refusals import is_begun
from train.replies import Wanted

Rows = Sequence[tuple[bool, Mapping[str, Any]]]


Judge = Callable[[Prompt, Mapping[str, Any]], str]
"""What becomes of a draft, in a word or a few."""


@dataclass(frozen=True)
class Facts:
    """All that a build knows at its end.

    `sampled_with`: what wrote the replies, as far as is known; `fate`: prompts by (source,
    reason); `written`: the prompts that came with a safe reply; `rows`: (held out, row).
    """

    base: str
    sampled_with: Sequence[str]
    seed: int
    prompts: Sequence[Prompt]
    fate: Counter[tuple[str, str]]
    wanted: Sequence[Wanted]
    lines: Sequence[Mapping[str, Any]]
    rows: Rows
    judge: Judge
    written: AbstractSet[str]


def write_report(facts: Facts, out: Path) -> list[str]:
    """Write both files into `out`, whole or not at all; returns the lines that a user should read at once."""
    report = summary(facts)
    write_text(out / "report.json", json.dumps(report, ensure_ascii=False, indent=1) + "\n")
    write_text(out / "report.md", markdown(report))
    rows = [
        f"{part.replace('_', ' ')} {kind} rows: {n}"
        for part, kinds in report["rows"].items()
        for kind, n in kinds.items()
    ]
    return [
        ", ".join(rows),
        *(f"note: {note}" for note in report["notes"]),
        f"the whole account: {out / 'report.md'}",
    ]


def summary(facts: Facts) -> dict[str, Any]:
    """The report as JSON: counts, lengths in characters, and shares from 0 to 1."""
    rows = {
        part: _counted(
            "safety" if "unsafe" in row else "benign"
            for held, row in facts.rows
            if held == (part == "heldout")
        )
        for part in ("train", "heldout")
    }
    report: dict[str, Any] = {
        "base": facts.base,
        "sampled_with": list(facts.sampled_with),
        "seed": facts.seed,
        "read": _sources(facts.fate),
        "kept": _counted(prompt.kind for prompt in facts.prompts),
        "held_out": {
            "for calibration": sum(p.held_out and not p.for_evaluation for p in facts.prompts),
            "for evaluation": sum(p.for_evaluation for p in facts.prompts),
        },
        "sampled": _sampled(facts),
        "drafts": _drafts(facts),
        "safe_replies": _safe_replies(facts),
        "rows": rows,
        "lengths": _lengths(facts),
        "shares": _shares(facts),
    }
    return {**report, "notes": list(_notes(report))}


def markdown(report: Mapping[str, Any]) -> str:
    """The same as text with tables."""
    by = "".join(f", sampled with {name}" for name in report["sampled_with"])
    parts = [
        "# Training data\n",
        f"Replies by {clean_line(report['base'])}{by}, seed {report['seed']}.\n",
        *(f"- {note}" for note in report["notes"]),
        "\n## Prompts\n",
        _table(
            ("source", "read", "kept", "dropped"),
            [
                (f"`{clean_line(name)}`", one["read"], one["kept"], _listed(one["dropped"]))
                for name, one in report["read"].items()
            ],
        ),
        "\n## Kept, sampled, used\n",
        _table(
            ("what", "counts"),
            [
                (name.replace("_", " "), _listed(report[name]))
                for name in ("kept", "held_out", "sampled", "drafts")
            ]
            + [("safe replies", _listed(report["safe_replies"]))]
            + [(f"rows in {part}.jsonl", _listed(kinds)) for part, kinds in report["rows"].items()],
        ),
        "\n## Lengths, in characters\n",
        _table(
            ("what", "count", "shortest", "median", "90 %", "longest"),
            [(name, *one.values()) for name, one in report["lengths"].items()],
        ),
        "\n## Shares\n",
        _table(
            ("what", "share"), [(name, f"{100 * share:.1f} %") for name, share in report["shares"].items()]
        ),
    ]
    return "\n".join(parts) + "\n"


def _sources(fate: Counter[tuple[str, str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for (source, reason), count in sorted(fate.items()):
        one = found.setdefault(source, {"read": 0, "kept": 0, "dropped": {}})
        one["read"] += count
        if reason == "kept":
            one["kept"] = count
        else:
            one["dropped"][reason] = count
    return found


def _sampled(facts: Facts) -> dict[str, int]:
    keys = {item.key for item in facts.wanted}
    there = [line for line in facts.lines if line["key"] in keys]
    empty = sum(not line["text"][len(line["opening"]) :].strip() for line in there)
    return {
        "wanted": len(keys),
        "there": len(there),
        "empty, left out": empty,
        "with an opening": sum(bool(line["opening"]) for line in there),
        "cut off at their limit": sum(not line["finished"] for line in there),
    }


def _drafts(facts: Facts) -> dict[str, int]:
    by_text = {prompt.text: prompt for prompt in facts.prompts if prompt.kind == "harmful"}
    used = {prompt.text for prompt in facts.prompts if not prompt.for_evaluation}
    return _counted(
        facts.judge(by_text[line["prompt"]], line) if line["prompt"] in used else "for evaluation"
        for line in facts.lines
        if line["prompt"] in by_text
        and not line.get("system")
        and line["text"][len(line["opening"]) :].strip()
    )


def _safe_replies(facts: Facts) -> dict[str, int]:
    def origin(prompt: Prompt) -> str:
        if not prompt.safe:
            return "none"
        if prompt.text in facts.written:
            return "written"
        return "the base's, begun for it" if is_begun(prompt.safe) else "the base's own refusal"

    return _counted(origin(p) for p in facts.prompts if p.kind == "harmful" and not p.for_evaluation)


def _lengths(facts: Facts) -> dict[str, dict[str, int]]:
    texts: dict[str, list[int]] = {"prompts": [len(prompt.text) for prompt in facts.prompts]}
    for name, key in (("unsafe drafts", "unsafe"), ("safe replies", "safe"), ("benign replies", "reply")):
        texts[name] = [len(row[key]) for _, row in facts.rows if key in row]
    return {name: _spread(sorted(sizes)) for name, sizes in texts.items() if sizes}


def _spread(sizes: Sequence[int]) -> dict[str, int]:
    return {
        "count": len(sizes),
        "min": sizes[0],
        "median": round(median(sizes)),
        "p90": sizes[min(len(sizes) - 1, len(sizes) * 9 // 10)],
        "max": sizes[-1],
    }


def _shares(facts: Facts) -> dict[str, float]:
    train = [row for held, row in facts.rows if not held]
    safety = [row for row in train if "unsafe" in row]
    harmful = {prompt.text for prompt in facts.prompts if prompt.kind == "harmful"}
    own = {p.safe for p in facts.prompts if p.kind == "harmful" and p.safe and p.text not in facts.written}
    benign = [row for row in train if "reply" in row]
    return {
        "safety rows among those to train on": _share(len(safety), len(train)),
        "of them under a harmless prompt": _share(
            sum(row["prompt"] not in harmful for row in safety), len(safety)
        ),
        "of them with the base's own refusal, begun for it or not": _share(
            sum(row["safe"] in own for row in safety), len(safety)
        ),
        "benign rows with an opening": _share(sum(bool(row["prefill"]) for row in benign), len(benign)),
        "rows held out": _share(len(facts.rows) - len(train), len(facts.rows)),
    }


def _notes(report: Mapping[str, Any]) -> Iterator[str]:
    for part in ("train", "heldout"):
        for kind in ("safety", "benign"):
            if not report["rows"][part].get(kind):
                yield f"{part}.jsonl has no {kind} rows"
    if unread := report["drafts"].get("unread"):
        yield f"{unread} drafts were left out because nobody has read them: --unread FILE, then --labels FILE"
    if none := report["safe_replies"].get("none"):
        yield f"{none} harmful prompts have no safe reply, so their drafts teach nothing"
    own = report["safe_replies"].get("the base's own refusal", 0)
    begun = report["safe_replies"].get("the base's, begun for it", 0)
    if own or begun:
        yield (
            f"{own + begun} harmful prompts take the base's own refusal as their safe reply, {begun} of them begun for "
            "it: read some of them, and write better ones"
        )
    absent = report["sampled"]["wanted"] - report["sampled"]["there"]
    if absent:
        yield f"{absent} replies could not be sampled"


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items()) or "none"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )
