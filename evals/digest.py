"""The SHA-256 of a large file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from convert.errors import TakebackError


def file_sha256(path: Path, progress: Callable[[int, int], None]) -> str:
    """The hash of a model's file: replies are known by it, so another model's are never taken for its.

    Raises:
        TakebackError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        total, done = path.stat().st_size, 0
        with path.open("rb") as file:
            while part := file.read(1 << 24):
                digest.update(part)
                done += len(part)
                progress(done, total)
    except OSError as error:
        raise TakebackError(f"{path}: cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()
