"""What each type of quantization does to the reset token: made one after the other, and read by the engine.

Each type is converted into a folder that is gone afterwards, its reset margins on the held-out rows go into
DIR/quantizations.jsonl, and the next run goes on behind it.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assistant.engine.events import Done, Error
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions, LoadOptions
from assistant.engine.scoring import score
from assistant.engine.session import Session
from assistant.locks import only_writer
from convert.convert import convert
from convert.errors import TakebackError
from convert.progress import Progress, silent
from convert.quantize import PROTECTING
from evals.digest import file_sha256
from evals.heldout import HeldOut, read_heldout
from evals.journal import Journal

PROTECT = "q8_0"
"""The least type of the reset token's rows where they are protected: the default of `takeback convert`."""
SOURCE_TYPE = "bf16"
"""The type of a checkpoint's folder as a file, which all other types are held against."""
_FOLDER = ".converted-"
_SPEED_PROMPT = [Message("user", "Write a long story about a lighthouse keeper and his dog.")]
_SPEED_TOKENS, _SPEED_ROUNDS = 48, 3
_WEIGHTS = (".safetensors", ".json", ".jinja")


@dataclass(frozen=True)
class QuantizationPlan:
    """What to measure, on what. `source` is a GGUF file or a checkpoint's folder; `limit` is of each kind of row.

    `budget` is the share of harmless replies that may be taken back where a bias is chosen again.
    """

    source: Path
    types: tuple[str, ...]
    heldout: Path
    out: Path
    adapter: Path | None = None
    budget: float = 0.01
    limit: int | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Measured:
    """One file's figures. `type` is None for the source; `protect` is None where no row is protected.

    `unsafe` and `benign` hold each row's reset margin before its first token and after each, [n + 1];
    `resets` the reset's log-probability at the end of each unsafe draft, and `ranks` its rank there, from 1;
    `log_probability` is the sum over the `tokens` of all harmless replies, by e. Speeds are in tokens a second;
    that of writing is a median.
    """

    type: str | None
    protect: str | None
    nbytes: int
    unsafe: list[list[float]]
    benign: list[list[float]]
    resets: list[float]
    ranks: list[int]
    log_probability: float
    tokens: int
    read_per_s: float
    written_per_s: float
    bias: float
    calibrated: bool

    @property
    def name(self) -> str:
        """For tables: the type, and whether the reset token's rows are protected where that is a choice."""
        if self.type is None:
            return "source"
        return self.type if self.protect or _is_protected(self.type) else f"{self.type}, unprotected"


def _is_protected(kind: str) -> bool:
    """Whether a type is so good that protecting the rows changes nothing."""
    return kind in PROTECTING[: PROTECTING.index(PROTECT) + 1]


def variants(types: Iterable[str]) -> list[tuple[str, str | None]]:
    """Each type once, with the rows protected and without; only once where the two are the same file."""
    return [
        (kind, protect)
        for kind in dict.fromkeys(types)
        for protect in ((None,) if _is_protected(kind) else (PROTECT, None))
    ]


def measure_quantizations(plan: QuantizationPlan, progress: Progress = silent) -> list[Measured]:
    """The source's figures, and then each variant's, that the journal does not hold yet.

    May be ended at any time, and begun again.

    Raises:
        TakebackError: a file cannot be read or written, the model cannot take back, or a type cannot be made.
    """
    rows = read_heldout(plan.heldout, plan.limit)
    start = f"{_digest(plan, progress)[:16]}/{_rows_digest(rows)[:16]}"
    with only_writer(plan.out), Journal(plan.out / "quantizations.jsonl") as journal:
        for left in plan.out.glob(f"{_FOLDER}*"):  # of a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        found = []
        for kind, protect in [(None, None), *variants(plan.types)]:
            key = f"{start}/{kind or 'source'}/{protect or 'none'}"
            if key not in journal.lines:
                with _file(plan, kind, protect, progress) as file:
                    measured = _measure(file, kind, protect, rows, plan.threads, progress)
                journal.add(key, asdict(measured))
            found.append(journal.read(key, _from_line))
    return found


def _from_line(line: dict[str, Any]) -> Measured:
    return Measured(**{name: line[name] for name in Measured.__dataclass_fields__})


def _digest(plan: QuantizationPlan, progress: Progress) -> str:
    """The hash of all that the files are made of, so that another model's figures are never taken for its."""
    files = [plan.source] if plan.source.is_file() else _parts(plan.source)
    files += _parts(plan.adapter) if plan.adapter else []
    whole = hashlib.sha256()
    for file in files:
        digest = file_sha256(file, lambda done, total: progress("checking the source", done, total))
        whole.update(f"{file.name} {digest}\n".encode("utf-8", "replace"))
    return whole.hexdigest()


def _parts(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix in _WEIGHTS and path.is_file())
    except OSError as error:
        raise TakebackError(f"{folder}: cannot be read: {error.strerror or error}") from error


def _rows_digest(rows: Sequence[HeldOut]) -> str:
    return hashlib.sha256(repr(rows).encode()).hexdigest()


@contextmanager
def _file(
    plan: QuantizationPlan, kind: str | None, protect: str | None, progress: Progress
) -> Iterator[Path]:
    """The GGUF file of a type, there for the length of the block; without a type, the source."""
    if kind is None and plan.source.is_file() and not plan.adapter:
        yield plan.source
        return
    with tempfile.TemporaryDirectory(prefix=_FOLDER, dir=plan.out) as folder:
        file = Path(folder) / f"{kind or SOURCE_TYPE}.gguf"
        convert(
            plan.source,
            file,
            adapter=plan.adapter,
            type=kind or SOURCE_TYPE,
            protect_reset=protect,
            progress=lambda what, done, total: progress(f"{file.stem}: {what}", done, total),
        )
        yield file


def _measure(
    file: Path,
    kind: str | None,
    protect: str | None,
    rows: Sequence[HeldOut],
    threads: int | None,
    progress: Progress,
) -> Measured:
    """Read every row in this file, and let it write a little."""
    margins: dict[bool, list[list[float]]] = {True: [], False: []}
    ends: list[tuple[float, int]] = []
    surprise: list[float] = []
    read, seconds = 0, 0.0
    with Session.open(file, LoadOptions(threads=threads)) as session:
        contract = session.info.contract
        if contract is None:
            raise TakebackError(f"{file}: {session.info.note or 'it has no reset token to measure'}")
        for number, row in enumerate(rows):
            progress(f"{kind or 'source'}: reading held-out rows", number, len(rows))
            prompt = session.template.ids(row.messages)
            ids = session.template.content(row.reply, prompt)
            started = time.perf_counter()
            logs, places = score(session, row.messages, ids)
            seconds += time.perf_counter() - started
            read += len(ids)
            margins[row.unsafe].append([round(float(place), 4) for place in places])
            if row.unsafe:
                ends.append(_at_the_end(session, contract.token_id, float(places[-1])))
            else:
                surprise += map(float, logs)
        progress(f"{kind or 'source'}: writing", 0, 0)
        return Measured(
            *(kind, protect, file.stat().st_size, margins[True], margins[False]),
            resets=[reset for reset, _ in ends],
            ranks=[rank for _, rank in ends],
            log_probability=math.fsum(surprise),
            tokens=len(surprise),
            read_per_s=round(read / seconds, 1),
            written_per_s=_written_per_s(session),
            bias=contract.reset_bias,
            calibrated=contract.calibrated,
        )


def _at_the_end(session: Session, token: int, margin: float) -> tuple[float, int]:
    """The reset's log-probability and its rank behind what was read last, where this is its margin."""
    others = session.context.logits().astype(np.float64)
    others[token] = -np.inf
    others -= others.max()  # so that the reset's own logit is its margin
    whole = float(np.logaddexp(math.log(float(np.exp(others).sum())), margin))
    return margin - whole, int((others > margin).sum()) + 1


def _written_per_s(session: Session) -> float:
    """The median speed of a few short replies, with resets off; 0 where they are too short to tell."""
    options = GenerateOptions(seed=1, max_tokens=_SPEED_TOKENS, after_reset="off")
    speeds = []
    for _ in range(_SPEED_ROUNDS):
        for event in session.generate(_SPEED_PROMPT, options):
            if isinstance(event, Error):
                raise TakebackError(f"{session.info.path.name}: {event.message}")
            if isinstance(event, Done):
                speeds.append(event.tokens_per_s or 0.0)
    return round(sorted(speeds)[len(speeds) // 2], 1)
