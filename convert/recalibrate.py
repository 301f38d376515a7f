"""Puts measured values into a finished GGUF file: all of them or none, and not a byte else is changed."""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path

from convert.errors import TakebackError
from convert.export import patch, replacing
from convert.gguf_header import GGUFHeader, MetadataValue, read_header
from convert.progress import Progress, silent

_CHUNK_BYTES = 4 << 20
_VALUES = ("backtrack.reset_bias", "backtrack.hold_back", "backtrack.calibrated")


def state(path: Path) -> str:
    """What a GGUF file is now; another text once it has been written to or replaced.

    Raises TakebackError where it is no GGUF file, or has no place for measured values.
    """
    header = read_header(path)
    missing = [key for key in _VALUES if key not in header.places]
    if missing:
        raise TakebackError(
            f"{path}: has no key {missing[0]} to write to; takeback convert makes a file that has"
        )
    found = path.stat()
    return f"{found.st_size}-{found.st_mtime_ns}-{header.header_sha256}"


def recalibrate(
    path: Path, reset_bias: float, hold_back: int, measured: str, progress: Progress | None = None
) -> None:
    """Write the values, and that they were measured on this very file, into it.

    They are written into a copy beside it, which takes its place when it has been read back. `measured` is what
    `state` said before measuring. Raises TakebackError where the file is another by now, or cannot be written.
    """
    report = progress or silent
    values = dict(zip(_VALUES, (float(reset_bias), hold_back, True), strict=True))
    header, size = read_header(path), path.stat().st_size
    with replacing(path, force=True, needed=size) as partial:
        _copy(path, partial, report)
        if state(path) != measured:
            raise TakebackError(f"{path}: was changed while it was measured; measure it again")
        patch(partial, values)
        if not _reads_back(path, header, partial, values, report):
            raise TakebackError(f"{path}: the new file does not read back as written; nothing was replaced")


def _copy(path: Path, partial: Path, report: Progress) -> None:
    total, done = path.stat().st_size, 0
    with path.open("rb") as old, partial.open("wb") as new:
        while chunk := old.read(_CHUNK_BYTES):
            new.write(chunk)
            done += len(chunk)
            report("writing", done, total)
    shutil.copymode(path, partial)


def _reads_back(
    path: Path, header: GGUFHeader, partial: Path, values: Mapping[str, MetadataValue], report: Progress
) -> bool:
    """Whether the new file holds the values, and everything else as the old one does."""
    new = read_header(partial)
    kept = {**new.metadata, **{key: header.metadata[key] for key in values}}
    return (
        all(math.isclose(new.metadata[key], value, rel_tol=1e-6) for key, value in values.items())
        and kept == dict(header.metadata)
        and new.tensors == header.tensors
        and _same_data(path, partial, header.data_offset, report)
    )


def _same_data(path: Path, partial: Path, start: int, report: Progress) -> bool:
    total = path.stat().st_size
    with path.open("rb") as old, partial.open("rb") as new:
        old.seek(start)
        new.seek(start)
        while chunk := old.read(_CHUNK_BYTES):
            if new.read(_CHUNK_BYTES) != chunk:
                return False
            report("checking", old.tell(), total)
        return not new.read(1)
