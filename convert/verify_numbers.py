"""Proves what a GGUF file computes: its logits against its source's, and what becomes of the reset token."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convert.check import Check, passed_if
from convert.errors import TakebackError
from convert.gguf_header import GGUFHeader
from convert.numbers import Floats
from convert.verify_logits import llama_logits
from convert.verify_reference import missing_packages, reference_logits

_EXACT_BITS = 31
_RELATIVE = 1e-3
"""The largest error of a logit of a float32 file, relative to the largest: sums in another order, layer by layer."""
_LIMITS = ((15, 0.02, 0.2), (8, 0.1, 0.5), (6, 0.2, 1.0), (5, 0.5, 2.0), (4, 1.5, 4.0))
"""Bits a weight; the largest mean KL divergence (nats) and the largest mean error of the reset token's
log-probability. Several times what sound files have: they find a wrong tensor, not a lossy type. What has fewer
bits than the last is measured and not judged."""
_ROOM = 1.5
"""Memory that a model needs, relative to its weights."""


@dataclass(frozen=True)
class _Compared:
    """Over all positions: the largest error of a logit, the largest logit, mean KL, share of equal first tokens.

    `reset` is the reset token's log-probability in source and result at the end, their mean distance over all
    positions, and its rank in both at the end; None for an ordinary model.
    """

    worst: float
    largest: float
    divergence: float
    same_first: float
    reset: tuple[float, float, float, int, int] | None


def check_numbers(
    file: Path, header: GGUFHeader, against: Path, adapter: Path | None, token: int | None
) -> list[Check]:
    """Compare the logits. What cannot be computed here is skipped, and says why."""
    why = _why_not(file, against, adapter)
    if why:
        return [Check("logits", "skipped", why)]
    rows = len(header.metadata["tokenizer.ggml.tokens"])
    with tempfile.TemporaryDirectory(prefix="takeback-verify-") as folder:
        ours, theirs = Path(folder) / "ours.npy", Path(folder) / "theirs.npy"
        try:
            ids = llama_logits(file, ours)
        except TakebackError as error:
            return [Check("logits", "fail", str(error))]
        try:
            if against.is_dir():
                reference_logits(against, adapter, rows, ids, theirs)
            else:
                llama_logits(against, theirs, ids)
        except TakebackError as error:  # it says nothing about the file
            return [Check("logits", "skipped", str(error))]
        found = _compare(np.load(theirs), np.load(ours), token)
    return _judged(found, _bits(header), len(ids), "llama.cpp" if against.is_file() else "transformers")


def _why_not(file: Path, against: Path, adapter: Path | None) -> str | None:
    if against.is_file() and adapter is not None:
        return "llama.cpp cannot compute a GGUF file with such an adapter; give --against the checkpoint's folder"
    missing = missing_packages(with_adapter=adapter is not None) if against.is_dir() else []
    if missing:
        return f"needs {' and '.join(missing)}: pip install 'takeback[train]'"
    weights = 2 * file.stat().st_size
    if against.is_dir():
        stored = sum(path.stat().st_size for path in against.glob("*.safetensors"))
        weights = max(weights, 2 * stored)  # of bfloat16 as a rule, computed in float32
    free = _free_memory()
    if free is not None and weights * _ROOM > free:
        return f"needs about {weights * _ROOM / (1 << 30):.1f} GiB of free memory, and there are {free / (1 << 30):.1f}"
    return None


def _free_memory() -> int | None:
    """Bytes that may be taken, where the system tells."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None


def _bits(header: GGUFHeader) -> float:
    """Bits a weight of all matrices together."""
    matrices = [tensor for tensor in header.tensors if len(tensor.shape) > 1]
    return 8 * sum(t.nbytes for t in matrices) / max(1, sum(int(np.prod(t.shape)) for t in matrices))


def _compare(theirs: Floats, ours: Floats, token: int | None) -> _Compared:
    width = min(theirs.shape[1], ours.shape[1])
    divergences, same, distances = [], 0, []
    theirs, ours = theirs[:, :width], ours[:, :width]
    for one, other in zip(theirs.astype(np.float64), ours.astype(np.float64), strict=True):
        p, q = _log_softmax(one), _log_softmax(other)
        divergences.append(float((np.exp(p) * (p - q)).sum()))
        same += int(one.argmax() == other.argmax())
        if token is not None:
            distances.append(abs(p[token] - q[token]))
    reset = None
    if token is not None:
        ranks = [int((values > values[token]).sum()) + 1 for values in (one, other)]
        reset = (float(p[token]), float(q[token]), float(np.mean(distances)), ranks[0], ranks[1])
    worst = float(np.abs(theirs - ours).max())  # of something that is no number, no number
    return _Compared(
        worst, float(np.abs(theirs).max()), float(np.mean(divergences)), same / len(theirs), reset
    )


def _log_softmax(values: np.ndarray) -> np.ndarray:
    shifted = values - values.max()
    result: np.ndarray = shifted - np.log(np.exp(shifted).sum())
    return result


def _judged(found: _Compared, bits: float, positions: int, by: str) -> list[Check]:
    """One check for all logits and one for the reset token's. Not a number is never good."""
    limits = next(((kl, distance) for least, kl, distance in _LIMITS if bits >= least), None)
    if bits >= _EXACT_BITS:
        good = found.worst <= _RELATIVE * found.largest
    else:
        good = np.isfinite(found.worst) and (limits is None or found.divergence <= limits[0])
    detail = (
        f"largest error {found.worst:.2g} of {found.largest:.3g}, KL divergence {found.divergence:.2g}, "
        f"same first token {found.same_first:.0%}, at {positions} positions, against {by}"
    )
    checks = [passed_if("logits", good=bool(good), detail=detail)]
    if found.reset is not None:
        theirs, ours, distance, rank, our_rank = found.reset
        allowed = (
            _RELATIVE * max(1.0, found.largest) if bits >= _EXACT_BITS else limits[1] if limits else np.inf
        )
        detail = (
            f"log-probability {ours:.3f} and rank {our_rank:,}, the source's {theirs:.3f} and {rank:,}; "
            f"mean distance {distance:.2g}"
        )
        checks.append(passed_if("reset token's logit", good=bool(distance <= allowed), detail=detail))
    return checks
