"""Reset bias and hold-back, measured on the very file that will run, by the engine's own rule."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assistant.engine.message import Message
from assistant.engine.options import LoadOptions
from assistant.engine.scoring import score
from assistant.engine.session import Session
from convert.errors import TakebackError
from convert.gguf_header import read_header
from convert.quantize import FILE_TYPES
from convert.reset_token import read_contract
from convert.whole_file import write_text
from train.rows import Row, file_sha256, load_rows

BIASES = tuple(float(b) for b in np.arange(-12.0, 6.5, 0.5))
MOST = 30.0
LONGEST_HOLD = 64


@dataclass(frozen=True)
class Margins:
    """Per reply logit[R] - the largest other logit: before its first token, and after each, [n + 1]."""

    unsafe: list[Any]
    benign: list[Any]


def calibrate(
    model: Path,
    record: Path,
    heldout: Path,
    budget: float,
    shown: float,
    threads: int | None,
    tell: Callable[[str], None],
) -> None:
    """Set `reset_bias`, `hold_back` and `calibrated` in a backtrack.json, with the curve they were chosen from.

    The bias is the largest that takes back at most `budget` of the held-out benign replies, those that the model
    began by itself: with words put into its mouth even a harmless prompt has drafts worth taking back, and a chat
    has none. The hold-back is the smallest that shows at most `shown` of the characters of the drafts taken back,
    in tokens as a stand-in.
    Raises TakebackError where the rows lack one of the kinds or the model cannot take back.
    """
    try:
        told = json.loads(record.read_text("utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise TakebackError(f"cannot read the record {record}: {error}") from error
    rows = [row for row in load_rows(heldout) if row.is_safety or not row.prefill]
    margins = measure(model, rows, threads, tell)
    if not margins.unsafe or not margins.benign:
        raise TakebackError(f"{heldout}: calibration needs held-out safety rows and benign rows")
    bias = choose_bias(margins.benign, budget)
    hold = choose_hold(margins.unsafe, bias, shown)
    caught = sum(fires(margin, bias) is not None for margin in margins.unsafe)
    needless = sum(fires(margin, bias) is not None for margin in margins.benign)
    told |= {
        "reset_bias": round(bias, 3),
        "hold_back": hold,
        "calibrated": True,
        **measured(model),
    }
    told["calibration"] = {
        "heldout_sha256": file_sha256(heldout),
        "budget": budget,
        "needless": [needless, len(margins.benign)],
        "caught": [caught, len(margins.unsafe)],
        "curve": [curve_point(margins, b) for b in BIASES],
    }
    write_text(record, json.dumps(told, indent=2) + "\n")
    tell(
        f"bias {bias:.2f}, hold-back {hold}: {needless}/{len(margins.benign)} benign replies taken back, "
        f"{caught}/{len(margins.unsafe)} unsafe drafts"
    )


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


def measure(model: Path, rows: Sequence[Row], threads: int | None, tell: Callable[[str], None]) -> Margins:
    """The margins of every held-out row under the model file."""
    found = Margins([], [])
    with Session.open(model, LoadOptions(threads=threads)) as session:
        if session.info.contract is None:
            raise TakebackError(f"{model} has no reset token to calibrate")
        for number, row in enumerate(rows, 1):
            messages = [Message(turn["role"], turn["content"]) for turn in row.messages]
            text = row.prefill + (row.unsafe or row.reply)
            _, margin = score(session, messages, session.vocabulary.tokenize(text, special=False))
            (found.unsafe if row.is_safety else found.benign).append(margin)
            if number % 50 == 0 or number == len(rows):
                tell(f"scored {number}/{len(rows)} held-out replies")
    return found


def fires(margin: Any, bias: float) -> int | None:
    """After how many tokens of the reply the reset fires, or None."""
    over = np.flatnonzero(margin + bias >= 0)
    return int(over[0]) if len(over) else None


def choose_bias(benign: Sequence[Any], budget: float) -> float:
    """The largest bias at which at most `budget` of the replies are taken back."""
    highest = np.sort([float(margin.max()) for margin in benign])[::-1]
    allowed = int(budget * len(highest))
    bias = -float(highest[allowed]) - 1e-3
    return float(np.clip(bias, -MOST, MOST))


def choose_hold(unsafe: Sequence[Any], bias: float, shown: float) -> int:
    """The smallest hold-back (tokens) under which at most `shown` of the tokens taken back are ever shown."""
    lengths = np.array([at for margin in unsafe if (at := fires(margin, bias)) is not None])
    if not lengths.sum():
        return 32
    for hold in range(LONGEST_HOLD):
        if np.maximum(lengths - hold, 0).sum() <= shown * lengths.sum():
            return hold
    return LONGEST_HOLD


def curve_point(margins: Margins, bias: float) -> dict[str, float]:
    """Shares taken back at one bias."""
    share = {
        name: sum(fires(margin, bias) is not None for margin in group) / len(group)
        for name, group in (("unsafe", margins.unsafe), ("benign", margins.benign))
    }
    return {"bias": bias} | {name: round(value, 4) for name, value in share.items()}
