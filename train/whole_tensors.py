"""Files of tensors that are whole or not there: a kill leaves the old one or the new one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from convert.errors import TakebackError


def write_tensors(path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file that is either wholly new or as it was. Raises TakebackError: it cannot be."""
    part = path.with_name(path.name + ".part")
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, metadata=metadata)
        _to_disk(part)
        part.replace(path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise TakebackError(f"{path}: cannot be written: {_reason(error)}") from error


def read_tensors(path: Path) -> dict[str, Any]:
    """The tensors of a file that `write_tensors` made. Raises TakebackError: it is damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise TakebackError(
            f"{path} cannot be read ({_reason(error)}): delete it to begin that part again"
        ) from error


def write_folder(folder: Path, last: str, fill: Callable[[Path], object]) -> None:
    """Let `fill` write files into a folder beside, then move them all into `folder`, the one named `last` at the end.

    Raises TakebackError: one cannot be written.
    """
    part = folder / ".part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        fill(part)
        files = sorted(part.iterdir(), key=lambda path: (path.name == last, path.name))
        for path in files:
            _to_disk(path)
        for path in files:
            path.replace(folder / path.name)
    except (OSError, SafetensorError) as error:
        raise TakebackError(f"{folder}: cannot be written: {_reason(error)}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or str(error).splitlines()[0])
