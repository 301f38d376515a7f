"""Reset to the next token, decode and follow-up turn, against the leanest llama.cpp loop and what else is installed.

Each peer has a process of its own, one after the other: `Llama.generate` of llama-cpp-python, and, where they are
installed, xllamacpp and backtrack-sampler. A follow-up is held against reading only its own tokens. Run:
python -m evals.speed.peers MODEL
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assistant.engine.threads import physical_cores
from convert.errors import TakebackError
from evals.peers import DRAFT, PEERS, installed
from evals.speed.own_process import in_own_process

LENGTHS = (64, 512, 2_048, 4_096)


def measure(
    model: Path,
    *,
    threads: int | None = None,
    lengths: Sequence[int] = LENGTHS,
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Measure each peer at each length of prompt in tokens. Times in milliseconds, medians.

    A row's ratio is its time from a reset to the next token against the leanest loop's at that length; the ratio
    of all is the largest of ours. A peer that fails is left out, and `failed` says why. Raises TakebackError if
    the leanest loop or ours fails.
    """
    threads = threads or physical_cores()
    found: dict[str, list[dict[str, float] | None]] = {}
    failed = {}
    for name in names or installed():
        try:
            found[name] = _measure_one(name, model, threads, lengths)
        except TakebackError as error:
            if name in ("llama.cpp", "takeback"):
                raise
            failed[name] = str(error)
    rows = [
        _row(name, length, row, found["llama.cpp"][index] or {})
        for index, length in enumerate(lengths)
        for name in found
        if (row := found[name][index])
    ]
    return {
        "rows": rows,
        "ratio": max(row["ratio"] for row in rows if row["peer"] == "takeback"),
        "target": "<= 1.2, flat",
        "draft_tokens": DRAFT,
        "threads": threads,
        "not_installed": ", ".join(name for name in PEERS if name not in installed()) or "none",
        **({"failed": "; ".join(f"{name}: {why}" for name, why in failed.items())} if failed else {}),
    }


def _row(name: str, length: int, row: dict[str, float], lean: dict[str, float]) -> dict[str, Any]:
    told = {key: round(value, 2) for key, value in row.items() if key != "new_only_ms"}
    return {
        "peer": name,
        "prompt_tokens": length,
        **told,
        "ratio": round(row["reset_ms"] / lean["reset_ms"], 2),
        "reset_per_step": round(row["reset_ms"] / row["step_ms"], 2),
        "step_ratio": round(row["step_ms"] / lean["step_ms"], 2),
        "follow_up_ratio": round(row["follow_up_ms"] / lean["new_only_ms"], 2),
    }


def _measure_one(
    name: str, model: Path, threads: int, lengths: Sequence[int]
) -> list[dict[str, float] | None]:
    asked = [name, str(model), str(threads), ",".join(map(str, lengths))]
    rows: list[dict[str, float] | None] = in_own_process(name, "evals.peers", *asked)
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--lengths", default=",".join(map(str, LENGTHS)), help="of prompts, in tokens")
    args = parser.parse_args()
    lengths = [int(length) for length in args.lengths.split(",")]
    found = measure(args.model, threads=args.threads, lengths=lengths)
    for row in found.pop("rows"):
        print(", ".join(f"{name} {value}" for name, value in row.items()))
    for name, value in found.items():
        print(f"{name:<32}{value}")


if __name__ == "__main__":
    main()
