"""`takeback calibrate`: parse, call, print. It needs nothing of the extra train."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assistant.usage import count, positive
from convert.progress import Progress

_ABOUT = """\
Set a model's reset bias and hold-back, measured on replies that it was not trained on.

The reset bias is the largest that takes back at most --budget of the harmless replies. The hold-back, by which the
screen lags behind, is the smallest that surely (the upper end of its 95 % interval) shows at most --shown of what the
model takes back when it answers the unsafe rows' prompts by itself. Both are written into MODEL when all is measured:
ended before, MODEL is as it was. The measurements, with their 95 % intervals and the shares at other biases, go into
MODEL.calibration.json.

What was measured holds for this very file: a model that is quantized otherwise is to be calibrated again.
"""
_EXAMPLES = """\
examples:
  takeback calibrate model.gguf --heldout data/heldout.jsonl
  takeback calibrate model.gguf --heldout data/heldout.jsonl --record run/backtrack.json --budget 0.03

HELDOUT is JSON lines, as `takeback train data` writes them. Unsafe drafts: {"prompt": ..., "unsafe": ..., "safe": ...}.
Harmless replies: {"prompt": ..., "reply": ...}. BENIGN: {"prompt": ...}.
"""
_PIPE_SECONDS = 30.0


def add_arguments_calibrate(parser: argparse.ArgumentParser) -> None:
    """The arguments of `takeback calibrate`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = _ABOUT, _EXAMPLES
    parser.add_argument(
        "model", metavar="MODEL", help="a GGUF file that takeback convert made, or an added model"
    )
    parser.add_argument(
        "--heldout", type=Path, required=True, metavar="HELDOUT", help="unsafe drafts and harmless replies"
    )
    parser.add_argument(
        "--benign",
        type=Path,
        metavar="BENIGN",
        help="harmless prompts, which the model answers now, with resets off; its replies count with the others",
    )
    parser.add_argument(
        "--reply-tokens",
        type=positive,
        default=128,
        metavar="N",
        help="of those replies (default: %(default)s)",
    )
    parser.add_argument(
        "--draft-tokens",
        type=count,
        default=256,
        metavar="N",
        help="how far the model itself answers HELDOUT's unsafe rows, to see when it takes back; 0: the hold-back is "
        "that of HELDOUT's own drafts (default: %(default)s)",
    )
    parser.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="a backtrack.json to write all into too, for takeback convert",
    )
    for name, value, told in (
        ("--budget", 0.01, "share of harmless replies that may be taken back"),
        ("--shown", 0.01, "share of what is taken back that may be seen before"),
    ):
        parser.add_argument(
            name, type=share, default=value, metavar="S", help=f"{told} (default: %(default)s)"
        )
    parser.add_argument("--ctx", type=positive, metavar="N", help="the context's length in tokens")
    parser.add_argument("--threads", type=positive, metavar="N", help="default: the physical cores")


def run_calibrate(args: argparse.Namespace) -> int:
    """Calibrate, with progress on standard error and what was found on standard output.

    Raises:
        TakebackError: a file cannot be read or written, or nothing can be measured with it.
    """
    from assistant.engine.options import LoadOptions
    from assistant.models.library import resolve
    from train.calibrate import calibrate

    with _progress() as (progress, tell):
        found = calibrate(
            resolve(args.model, progress),
            args.heldout,
            record=args.record,
            benign=args.benign,
            budget=args.budget,
            shown=args.shown,
            reply_tokens=args.reply_tokens,
            draft_tokens=args.draft_tokens,
            options=LoadOptions(ctx=args.ctx, threads=args.threads),
            progress=progress,
            tell=tell,
        )
    print(summary(found))
    return 0


def summary(found: Mapping[str, Any]) -> str:
    """One line: both values and both shares, each with its 95 % interval."""
    bias, hold = ("{:.2f} to {:.2f}".format(*found["reset_bias_interval"]), found["hold_back_interval"])
    needless, caught = (
        f"{count} of {total} {what} ({100 * low:.1f} to {100 * high:.1f} %)"
        for (count, total), (low, high), what in (
            (found["needless"], found["needless_interval"], "benign replies"),
            (found["caught"], found["caught_interval"], "unsafe drafts"),
        )
    )
    return (
        f"reset bias {found['reset_bias']:.2f} ({bias}), hold-back {found['hold_back']} (from {hold[0]} on): "
        f"takes back {needless}, {caught}; 95 % intervals"
    )


def share(text: str) -> float:
    """A share, for argparse. Raises ArgumentTypeError where it is none, or all."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"is a share from 0 to below 1, not {value}")
    return value


@contextmanager
def _progress() -> Iterator[tuple[Progress, Callable[[str], None]]]:
    """How far it is, on standard error: a line written over on a terminal, one twice a minute elsewhere.

    Also gives a function that writes a line there.
    """
    from assistant.ask_output import StatusLine

    terminal = sys.stderr.isatty()
    status = StatusLine(sys.stderr, shown=terminal)
    last = ("", 0.0)

    def tell(line: str) -> None:
        status.clear()
        print(line, file=sys.stderr, flush=True)

    def show(what: str, done: int, total: int) -> None:
        nonlocal last
        line = f"{what}: {100 * done // total} %" if total else what
        if terminal:
            status.show(line)
        elif what != last[0] or time.monotonic() - last[1] >= _PIPE_SECONDS:
            last = (what, time.monotonic())
            tell(line)

    try:
        yield show, tell
    finally:
        status.clear()
