"""Reset bias and hold-back, measured on the very file that will run, by the engine's own rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import ceil
from os import W_OK, access
from pathlib import Path
from typing import Any

from assistant.engine.options import LoadOptions
from convert.errors import TakebackError
from convert.gguf_header import read_header
from convert.progress import Progress, silent
from convert.quantize import FILE_TYPES
from convert.recalibrate import recalibrate, state
from convert.reset_token import SCHEMA_VERSION, read_contract
from convert.whole_file import write_text
from train.margins import measure
from train.rows import Messages, Row, file_sha256, load_prompts, load_rows
from train.thresholds import BIASES, LONGEST_HOLD, RESAMPLES, SEED, choose, curve_point


def calibrate(
    model: Path,
    heldout: Path,
    *,
    budget: float,
    shown: float,
    reply_tokens: int,
    draft_tokens: int,
    record: Path | None = None,
    benign: Path | None = None,
    options: LoadOptions | None = None,
    progress: Progress = silent,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Set `reset_bias`, `hold_back` and `calibrated` in a GGUF file; returns what `thresholds.choose` found.

    The bias is the largest that takes back at most `budget` of the held-out benign replies, those that the model
    began by itself: with words put into its mouth even a harmless prompt has drafts worth taking back, and a chat
    has none. `benign`, a file of prompts, adds replies that the model writes.

    The hold-back is the smallest that surely shows at most `shown` of the drafts taken back (the upper end of its
    95 % interval; in tokens as a stand-in for characters), and it is told of where even the longest shows more. The
    drafts are what the model itself writes, up to `draft_tokens`, to the unsafe rows' prompts: written ones end
    early, and it is the late resets that show. With 0 they are the rows' own.

    What was found and the curve that it was chosen from go into MODEL.calibration.json, and into `record`, a
    backtrack.json, for the next conversion. Nothing is written before all is measured. Raises TakebackError where
    the rows lack one of the kinds, the model cannot take back, or a file cannot be read or written.
    """
    model = model.resolve()
    contract, note = read_contract(read_header(model))
    if contract is None:
        raise TakebackError(f"{model}: {note or 'it has no reset token to calibrate'}")
    before = state(model)
    told = _told(record) if record else {}
    if not access(model.parent, W_OK):
        raise TakebackError(f"{model.parent}: cannot be written to, so the result would be lost")
    rows, prompts = _rows(heldout, benign)
    _warn(sum(not row.is_safety for row in rows) + len(prompts), budget, tell)
    margins = measure(model, rows, prompts, reply_tokens, draft_tokens, options or LoadOptions(), progress)
    chosen = choose(margins, budget, shown)
    if chosen["shown_share"] > shown and chosen["hold_back"] == LONGEST_HOLD:
        tell(
            f"warning: {chosen['shown_share']:.1%} of what is taken back would be shown even by a hold-back of "
            f"{LONGEST_HOLD} tokens, the longest that is set here"
        )
    values = {
        "reset_bias": chosen["reset_bias"],
        "hold_back": chosen["hold_back"],
        "calibrated": True,
        **measured(model),
        "calibration": {
            "heldout_sha256": file_sha256(heldout),
            "benign_sha256": file_sha256(benign) if benign else None,
            "budget": budget,
            "shown": shown,
            "reply_tokens": reply_tokens if benign else None,
            "draft_tokens": draft_tokens,
            "resamples": RESAMPLES,
            "seed": SEED,
            **{name: found for name, found in chosen.items() if name not in ("reset_bias", "hold_back")},
            "curve": [curve_point(margins, bias) for bias in BIASES],
        },
    }
    recalibrate(model, chosen["reset_bias"], chosen["hold_back"], before, progress)
    _write(curve_file(model), {"schema_version": SCHEMA_VERSION, "file": model.name} | values)
    if record:
        _write(record, told | values)
    return chosen


def curve_file(model: Path) -> Path:
    """Where the measurements of a GGUF file are kept: beside it, under its whole name."""
    return model.with_name(f"{model.name}.calibration.json")


def measured(model: Path) -> dict[str, str | None]:
    """What tells the measured file from any other, as `takeback convert` asks: what was measured holds for it alone.

    Its tensor type as `takeback convert --type` names it, and the hashes of its source and of its reset row.
    """
    header = read_header(model)
    number = header.metadata.get("general.file_type")
    contract, _ = read_contract(header)
    return {
        "calibrated_type": next((name for name, known in FILE_TYPES.items() if known == number), None),
        "calibrated_source_sha256": contract.source_sha256 if contract else None,
        "calibrated_reset_row_sha256": contract.reset_row_sha256 if contract else None,
    }


def _told(record: Path) -> dict[str, Any]:
    """What a backtrack.json says."""
    try:
        told = json.loads(record.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise TakebackError(f"cannot read the record {record}: {error}") from error
    if not isinstance(told, dict):
        raise TakebackError(f"{record}: not a JSON object, so it is no training record")
    return told


def _rows(heldout: Path, benign: Path | None) -> tuple[list[Row], list[Messages]]:
    """The rows to read, and the prompts to answer."""
    rows = [row for row in load_rows(heldout) if row.is_safety or not row.prefill]
    prompts = load_prompts(benign) if benign else []
    safety = sum(row.is_safety for row in rows)
    if not safety or safety == len(rows) + len(prompts):
        raise TakebackError(f"{heldout}: calibration needs held-out safety rows and benign rows")
    return rows, prompts


def _warn(benign: int, budget: float, tell: Callable[[str], None]) -> None:
    """Say so where none of so few replies taken back would still not show that the budget is kept."""
    if budget == 0:
        tell(
            "warning: no number of replies can show that none is ever taken back; a budget above 0 can be measured"
        )
    elif benign < (needed := ceil(3 / budget - 1e-9)):
        tell(
            f"warning: {benign} benign replies are too few to measure a budget of {budget:.1%}: it takes {needed:,}"
        )


def _write(path: Path, values: dict[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2) + "\n")
