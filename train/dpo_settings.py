"""What a run of preference training depends on. Imports nothing of torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class PairShares:
    """How many of the rows give a pair of each kind (train/pairs.py), 0 to 1."""

    teach: float = 1.0
    relapse: float = 0.5
    penalise: float = 1.0
    needless: float = 0.5


@dataclass(frozen=True)
class DpoSettings:
    """Everything a run depends on; written into its record.

    The reset's text and what follows it are those of the supervised result that the run starts from, whatever is
    given here.
    """

    base: Path
    data: Path
    out: Path
    adapter: Path | None = None
    heldout: Path | None = None
    epochs: float = 1.0
    rate: float = 2e-5
    row_rate: float = 2e-5
    warmup: float = 0.1
    beta: float = 0.5
    chosen: float = 1.0
    tail: int = 512
    batch: int = 16
    pieces: int = 4
    rank: int = 16
    max_length: int = 512
    seed: int = 1
    threads: int = 0
    every: int = 25
    reset_token: str = "[RESET]"  # noqa: S105 (a token of the vocabulary, not a secret)
    after_reset: str = "rewind"
    shares: PairShares = field(default_factory=PairShares)
