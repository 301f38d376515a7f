"""What a training run depends on, and the default model's recipe as its defaults. Imports nothing of torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Shares:
    """How often an epoch shows a row in each form, 0 to 1; drafts and benign replies are shown every time."""

    keep: float = 0.0
    rewind: float = 1.0
    direct: float = 0.15
    needless: float = 0.4


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms; `direct` is that of the paper's second term relative to the safe reply after a reset."""

    reset: float = 1.0
    forbid: float = 0.3
    words: float = 1.5
    direct: float = 0.05
    keep_model: float = 8.0


FULL_RATE = 2e-5
"""The peak learning rate where all weights are trained, unless another is given."""
NO_PART_OF_A_RUN = ("threads", "every", "out", "save_every")
"""Settings that change neither what is trained nor how."""


@dataclass(frozen=True)
class SftSettings:
    """Everything a run depends on; written into its record.

    `store_rank` 0 stores a fully trained model whole, `patience` 0 never ends a run early, `adapter` is an earlier
    run's result to start from.
    """

    base: Path
    data: Path
    out: Path
    heldout: Path | None = None
    reset_token: str = "[RESET]"  # noqa: S105 (a token of the vocabulary, not a secret)
    steps: int = 260
    rate: float = 5e-4
    row_rate: float = 4e-4
    warmup: float = 0.06
    rank: int = 16
    batch_tokens: int = 4608
    pieces: int = 3
    max_length: int = 512
    seed: int = 1
    threads: int = 0
    every: int = 25
    after_reset: str = "rewind"
    full: bool = False
    store_rank: int = 0
    prefixes: str = "dense"
    chat: Path | None = None
    chat_share: float = 0.2
    patience: int = 0
    benign_limit: float = 0.05
    save_every: int = 10
    adapter: Path | None = None
    shares: Shares = field(default_factory=Shares)
    weights: LossWeights = field(default_factory=LossWeights)
