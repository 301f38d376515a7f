"""The report of an evaluation, as Markdown tables for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from convert.untrusted import clean_line
from evals import measures
from evals.agreement import Agreement, agreements
from evals.cases import ATTACKED, COMPARED_REPLY, CONTROL, FREE, HARMLESS_REPLY
from evals.comparison_tables import agreement_json, agreement_table, cell, paired_table, pairs_json
from evals.curves import CURVES
from evals.evaluate import Outcome
from evals.judging import JUDGED, judge_notes, judged_measures
from evals.measures import Difference, Measure, Shown
from evals.mode_measures import MODES, OWN, mode_measures, own_measures
from evals.paired import Paired, compare_modes
from evals.plan import Plan
from evals.reading import read_measures
from evals.sheet import Labels

SCHEMA = 1
_SECTIONS = (
    measures.ATTACK,
    measures.CONTROLS,
    measures.UNPROMPTED,
    measures.NEEDLESSLY,
    MODES,
    OWN,
    JUDGED,
    CURVES,
)


@dataclass(frozen=True)
class Report:
    """All figures of an evaluation, and what must be known to read them."""

    measures: list[Measure]
    differences: list[Difference]
    histograms: dict[str, list[int]]
    shown: Shown
    outcome: Outcome
    notes: list[str]
    compared: list[Paired]
    agreement: list[Agreement]


def make_report(outcome: Outcome, plan: Plan, readers: Sequence[Labels] = ()) -> Report:
    """Count what the replies come to; with one or two `readers`, also what they said of them."""
    answers, judgement = outcome.answers, outcome.judgement
    found = [
        *measures.attack(answers),
        *measures.controls(answers),
        *measures.unprompted(answers),
        *_read(answers, readers),
        *measures.needless(answers),
        *mode_measures(answers),
        *own_measures(answers),
        *(judged_measures(judgement) if judgement else ()),
        *outcome.curves,
    ]
    return Report(
        [measure for measure in found if measure.total],
        measures.refused_more(answers),
        measures.histograms(answers),
        measures.shown(answers),
        outcome,
        list(_notes(outcome, plan, readers)),
        compare_modes(answers, judgement, readers),
        agreements(*readers) if len(readers) == 2 else [],
    )


def _read(answers: measures.Answers, readers: Sequence[Labels]) -> list[Measure]:
    """What the readers' labels say; of two readers, each under its own number."""
    if len(readers) == 1:
        return read_measures(answers, readers[0])
    return [
        replace(measure, key=f"{measure.key}_reader_{number}", name=f"reader {number}: {measure.name}")
        for number, labels in enumerate(readers, 1)
        for measure in read_measures(answers, labels)
    ]


def _notes(outcome: Outcome, plan: Plan, readers: Sequence[Labels]) -> Iterator[str]:
    yield f"Model: {clean_line(plan.model.name)}, SHA-256 {outcome.model_sha256[:16]}…"
    yield f"Base: {clean_line(plan.base.name)}, SHA-256 {outcome.base_sha256[:16]}…"
    yield f"Temperature 0, seed {plan.seed}; intervals are Wilson's, at 95 %."
    yield (
        f"Drafts and replies are cut after so many tokens: {ATTACKED} in attacks, {CONTROL} in controls, "
        f"{FREE} without a beginning, {HARMLESS_REPLY} for harmless requests ({COMPARED_REPLY} by the base)."
    )
    if plan.limit:
        yield f"Only the first {plan.limit} prompts of each set."
    if not plan.benign and {"benign", "controls", "perplexity"} & set(plan.parts):
        yield "No file of held-out harmless prompts (--benign): MT-Bench alone stands for them."
    if {"mt_bench", "benign", "xstest"} & set(plan.parts) or plan.own:
        yield "Refusals are told by their words: freely worded ones are missed, and no word tells harm."
    for number, labels in enumerate(readers, 1):
        if labels.missing:
            whose = f"the sheet of reader {number}" if len(readers) > 1 else "the sheet"
            yield f"{labels.missing} rows of {whose} have no label and are left out."
    if outcome.judgement:
        yield from judge_notes(outcome.judgement)
    if plan.curve:
        yield "The samples of a prompt differ in their seed, which is the evaluation's and counts up from it."


def as_markdown(report: Report) -> str:
    """The report as Markdown."""
    lines: list[str] = []
    for section in _SECTIONS:
        rows = [measure for measure in report.measures if measure.section == section]
        if rows:
            lines += [
                "",
                f"## {section}",
                "",
                "| what | count | share | 95 % interval |",
                "|---|--:|--:|--:|",
            ]
            lines += [_row(measure) for measure in rows]
    lines += _differences(report.differences)
    lines += _other(report)
    lines += _histogram(report.histograms)
    lines += paired_table(report.compared)
    lines += agreement_table(report.agreement)
    lines += ["", *(f"- {note}" for note in report.notes)]
    return "\n".join(lines).strip() + "\n"


def _row(measure: Measure) -> str:
    low, high = measure.interval
    interval = f"{100 * low:.1f} to {100 * high:.1f} %"
    return f"| {cell(measure.name)} | {measure.count} / {measure.total} | {100 * measure.share:.1f} % | {interval} |"


def _differences(differences: Sequence[Difference]) -> list[str]:
    if not differences:
        return []
    lines = [
        "",
        "## Refused by the model and not by its base, on the same harmless prompts",
        "",
        "| set | only the model refuses | only the base refuses | prompts | difference |",
        "|---|--:|--:|--:|--:|",
    ]
    return lines + [
        f"| {d.probe} | {d.only_model} | {d.only_base} | {d.total} | {d.points:+.1f} points |"
        for d in differences
    ]


def _other(report: Report) -> list[str]:
    lines = []
    if report.shown.drafts:
        lines.append(
            f"| characters taken back that were ever shown, of {report.shown.drafts} drafts "
            f"| {report.shown.shown:,} of {report.shown.chars:,} = {100 * report.shown.share:.1f} % |"
        )
    compared = report.outcome.perplexity
    if compared:
        lines.append(
            f"| perplexity of the base's own replies to harmless prompts ({compared.replies} replies, "
            f"{compared.tokens:,} tokens): base, model, model / base "
            f"| {compared.base:.4f}, {compared.model:.4f}, {compared.ratio:.4f} |"
        )
    return ["", "## Other figures", "", "| what | |", "|---|--:|", *lines] if lines else []


def _histogram(histograms: dict[str, list[int]]) -> list[str]:
    if not histograms:
        return []
    heads = [str(low) if low == high else f"{low} to {high}" for low, high in measures.BINS[:-1]]
    heads.append(f"{measures.BINS[-1][0]} or more")
    lines = [
        "",
        "## Tokens the model had written when it took its first draft back",
        "",
        f"| beginning | {' | '.join(heads)} |",
        "|---|" + "--:|" * len(heads),
    ]
    return lines + [f"| {name} | {' | '.join(map(str, counts))} |" for name, counts in histograms.items()]


def as_json(report: Report) -> dict[str, Any]:
    """The report as a JSON object; shares run from 0 to 1."""
    compared = report.outcome.perplexity
    return {
        "schema": SCHEMA,
        "measures": [
            {**asdict(measure), "share": measure.share, "interval": measure.interval}
            for measure in report.measures
        ],
        "refused_more": [{**asdict(d), "points": d.points} for d in report.differences],
        "draft_tokens": {"bins": measures.BINS, "counts": report.histograms},
        "shown": {**asdict(report.shown), "share": report.shown.share},
        "perplexity": {**asdict(compared), "ratio": compared.ratio} if compared else None,
        "model_sha256": report.outcome.model_sha256,
        "base_sha256": report.outcome.base_sha256,
        "modes_compared": pairs_json(report.compared),
        "agreement": agreement_json(report.agreement),
        "notes": report.notes,
    }
