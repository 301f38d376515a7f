"""One tensor of the result, made chunk by chunk: rows moved, an adapter added, rows replaced, another type.

Where nothing but the place changes, bytes are copied and never become numbers.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from convert import numbers
from convert.adapter import Lora, Rows
from convert.checkpoint import StoredTensor
from convert.errors import TakebackError
from convert.gguf_header import tensor_nbytes
from convert.numbers import Bytes, Floats
from convert.transform import UNCHANGED, Transform

_CHUNK_ELEMENTS = 1 << 20


@dataclass(frozen=True)
class OutputTensor:
    """A tensor to be written and what it is made of.

    `transform` is what llama.cpp wants changed; `done` says that the source is llama.cpp's already, so that only
    the adapter's part must be changed. The source is None for a tensor whose values are given in `made`.
    """

    name: str
    shape: tuple[int, ...]
    ggml_type: int
    source: StoredTensor | None = None
    made: Floats | None = None
    transform: Transform = UNCHANGED
    done: bool = False
    lora: Lora | None = None
    rows: Rows | None = None

    @property
    def nbytes(self) -> int:
        """Its size in the file."""
        return tensor_nbytes(self.shape, self.ggml_type)


def head_order(rows: int, heads: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Which row of a checkpoint stands at each row of the file: the two halves of each head alternate."""
    return np.arange(rows).reshape(heads, 2, -1).swapaxes(1, 2).reshape(-1)


def chunks(tensor: OutputTensor, seen: Callable[[Bytes], None]) -> Iterator[Bytes]:
    """Yield the tensor's bytes in order; `seen` is shown every byte of the source, once and in order."""
    if tensor.made is not None:
        yield numbers.encode(tensor.made.reshape(-1, tensor.shape[-1]), tensor.ggml_type)
        return
    source = tensor.source
    if source is None:
        raise ValueError("a tensor without a source")
    total = math.prod(tensor.shape[:-1] if len(tensor.shape) > 1 else tensor.shape)
    step = _rows_a_chunk(tensor, total)
    change = _Change(tensor, source)
    for first in range(0, total, step):
        raw = source.read(first, max(0, min(step, source.rows - first)))
        seen(raw)
        yield change.apply(raw, first, min(step, total - first))


def _rows_a_chunk(tensor: OutputTensor, total: int) -> int:
    """As many rows as fit a chunk; whole heads where rows move within a head."""
    wanted = max(1, _CHUNK_ELEMENTS // (tensor.shape[-1] if len(tensor.shape) > 1 else 1))
    heads = tensor.transform.heads
    if heads is None:
        return wanted
    if total % heads or total // heads % 2:
        raise TakebackError(f"{tensor.name}: {total:,} rows are not {heads} heads of an even size")
    size = total // heads
    return max(1, wanted // size) * size


class _Change:
    """What happens to the rows of one tensor; holds the adapter's part of it as float32."""

    def __init__(self, tensor: OutputTensor, source: StoredTensor) -> None:
        self.tensor = tensor
        self.source = source
        self.a, self.b = _factors(tensor, source)
        self.lengths = _lengths(tensor)
        self.new: dict[int, Floats] = {}
        if tensor.rows is not None:
            self.new = dict(zip(tensor.rows.ids, tensor.rows.values.values(), strict=True))

    def apply(self, raw: Bytes, first: int, count: int) -> Bytes:
        """Make rows `first` to `first + count` of the result from those that the source has of them."""
        transform, wanted = self.tensor.transform, self.tensor.ggml_type
        heads, calculates = transform.heads, transform.calculates and not self.tensor.done
        new = {i - first: row[None] for i, row in self.new.items() if first <= i < first + count}
        if heads is not None and not self.tensor.done:
            raw = raw[head_order(len(raw), heads * len(raw) // self.source.rows)]
        if self.source.ggml_type == wanted and self.b is None and not calculates:
            return _with_rows(raw, count, {i: numbers.encode(row, wanted) for i, row in new.items()})
        values = numbers.decode(raw, self.source.number_type())
        with np.errstate(all="ignore"):  # what comes of it is looked at
            if calculates:
                values = values * np.float32(transform.times) + np.float32(transform.plus)
            if self.b is not None and len(raw):
                values = self.merged(values, first)
        values = _with_rows(values, count, new)
        return numbers.encode(values.reshape(1, -1) if len(self.tensor.shape) == 1 else values, wanted)

    def merged(self, values: Floats, first: int) -> Floats:
        """The rows from `first` with the adapter's change in them."""
        assert self.a is not None and self.b is not None
        values = values + self.b[first : first + len(values)] @ self.a
        if self.lengths is not None:
            values = _of_length(values, self.lengths[first : first + len(values)])
        if not np.isfinite(values).all():
            raise TakebackError(f"{self.tensor.name}: with the adapter, a weight is too large or no number")
        return values


def _factors(tensor: OutputTensor, source: StoredTensor) -> tuple[Floats | None, Floats | None]:
    """The change as a [r, in] and scale x b [out, r], as the result has it: its row order, its factor."""
    lora = tensor.lora
    if lora is None:
        return None, None
    a, b = lora.a.values(), lora.b.values()
    if lora.of_embedding:
        a, b = b.T, a.T
    if (len(b), a.shape[1]) != source.shape:
        raise TakebackError(
            f"{tensor.name}: the adapter's change is {len(b)}x{a.shape[1]}, the tensor is not"
        )
    if tensor.transform.heads is not None:
        b = b[head_order(len(b), tensor.transform.heads)]
    scale = np.float32(lora.scale * tensor.transform.times)
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(a), np.ascontiguousarray(b * scale)


def _lengths(tensor: OutputTensor) -> Floats | None:
    """DoRA's length of each row [out, 1], as the result has it: its row order, its factor."""
    if tensor.lora is None or tensor.lora.magnitude is None:
        return None
    lengths = tensor.lora.magnitude.values()
    if tensor.transform.heads is not None:
        lengths = lengths[head_order(len(lengths), tensor.transform.heads)]
    return (lengths * np.float32(tensor.transform.times))[:, None]


def _of_length(values: Floats, lengths: Floats) -> Floats:
    """Each row brought to its length; a row of zeros stays one."""
    have: Floats = np.linalg.norm(values, axis=1, keepdims=True)
    result: Floats = values * np.divide(lengths, have, out=np.zeros_like(have), where=have != 0)
    return result


def _with_rows(old: np.ndarray, count: int, new: dict[int, np.ndarray]) -> np.ndarray:
    """The first `count` rows with those in `new` put in their places."""
    if not new:
        return old
    width = next(iter(new.values())).shape[1]
    result = np.empty((count, width), next(iter(new.values())).dtype)
    result[: len(old)] = old
    for i, row in new.items():
        result[i] = row[0]
    return result
