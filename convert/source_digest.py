"""The hash of a source: over the name-sorted lines of the base's tensors, then of the adapter's.

A line is `name dtype shape sha256`, the shape as 49152x576 and the hash over the tensor's bytes as stored.
"""

import hashlib
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from types import MappingProxyType
from typing import TYPE_CHECKING

from convert.adapter import Adapter
from convert.checkpoint import Checkpoint, StoredTensor
from convert.numbers import Bytes

if TYPE_CHECKING:
    from hashlib import _Hash

_PIECE_BYTES = 4 << 20
_MAX_WAITING = 8
"""Pieces that may wait for the worker, so that memory stays small."""


class SourceDigest:
    """Hashes a source's tensors while they are being read for something else, in the worker `pool`.

    Hashing takes as long as writing, and does not hold the interpreter's lock.
    """

    def __init__(self, source: Checkpoint, adapter: Adapter | None, pool: Executor) -> None:
        self._pool = pool
        self._waiting: deque[Future[None]] = deque()
        self._source = source
        self._adapter = adapter
        self._begun: dict[str, _Hash] = {}

    def seen(self, tensor: StoredTensor, raw: Bytes) -> None:
        """Take the next bytes of a tensor; each tensor must be shown whole and in order, or not at all."""
        if self._source.tensors.get(tensor.name) is tensor:
            digest = self._begun.setdefault(tensor.name, hashlib.sha256())
            self._waiting.append(self._pool.submit(digest.update, raw.data))
            if len(self._waiting) > _MAX_WAITING:
                self._waiting.popleft().result()

    def hexdigest(self) -> str:
        """The hash; reads what was not shown."""
        for update in self._waiting:
            update.result()
        known = {name: digest.hexdigest() for name, digest in self._begun.items()}
        return source_sha256(self._source, self._adapter, known)


def source_sha256(
    source: Checkpoint, adapter: Adapter | None, known: Mapping[str, str] = MappingProxyType({})
) -> str:
    """The hash of a source; `known` holds the hashes of those of the base's tensors that need no reading."""
    total = hashlib.sha256()
    _add_lines(total, source.tensors, known)
    if adapter is not None:
        _add_lines(total, adapter.stored, {})
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
