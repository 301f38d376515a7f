"""The hash of a source: over the name-sorted lines of the base's tensors, then of the adapter's.

A line is `name dtype shape sha256`, the shape as 49152x576 and the hash over the tensor's bytes as stored.
"""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from convert.adapter import Adapter
from convert.checkpoint import Checkpoint, StoredTensor
from convert.numbers import Bytes

if TYPE_CHECKING:
    from hashlib import _Hash

_PIECE_BYTES = 4 << 20


class SourceDigest:
    """Hashes a source's tensors while they are being read for something else."""

    def __init__(self, source: Checkpoint, adapter: Adapter | None) -> None:
        self._source = source
        self._adapter = adapter
        self._begun: dict[str, _Hash] = {}

    def seen(self, tensor: StoredTensor, raw: Bytes) -> None:
        """Take the next bytes of a tensor; each tensor must be shown whole and in order, or not at all."""
        if self._source.tensors.get(tensor.name) is tensor:
            self._begun.setdefault(tensor.name, hashlib.sha256()).update(raw.data)

    def hexdigest(self) -> str:
        """The hash; reads what was not shown."""
        total = hashlib.sha256()
        _add_lines(total, self._source.tensors, {name: h.hexdigest() for name, h in self._begun.items()})
        if self._adapter is not None:
            _add_lines(total, self._adapter.stored, {})
        return total.hexdigest()


def _add_lines(total: "_Hash", tensors: Mapping[str, StoredTensor], known: Mapping[str, str]) -> None:
    for name in sorted(tensors):
        tensor = tensors[name]
        shape = "x".join(map(str, tensor.shape))
        total.update(f"{name} {tensor.dtype} {shape} {known.get(name) or _digest(tensor)}\n".encode())


def _digest(tensor: StoredTensor) -> str:
    digest = hashlib.sha256()
    step = max(1, tensor.rows * _PIECE_BYTES // max(tensor.nbytes, 1))
    for first in range(0, tensor.rows, step):
        digest.update(tensor.read(first, min(step, tensor.rows - first)).data)
    return digest.hexdigest()
