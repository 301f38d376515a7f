"""The models on this machine: GGUF files in one folder, each known by its file's name."""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from assistant.models.bundled import default_model
from assistant.paths import models_dir
from convert.errors import TakebackError
from convert.gguf_header import read_header
from convert.progress import Progress
from convert.untrusted import clean_line

DEFAULT = "default"
"""The name of the model that Takeback builds for itself."""

_NO_FILE_NAME = re.compile(r'[<>:"/\\|?*\ufffd]')
_NAME_BYTES = 200
_CALIBRATION = ".calibration.json"


@dataclass(frozen=True)
class Model:
    """A GGUF file in the models folder."""

    name: str
    path: Path
    size: int
    """In bytes."""


def models() -> list[Model]:
    """The models that were added, by name. The files are not opened, so this is fast with any number."""
    try:
        files = [path for path in models_dir().glob("*.gguf") if path.is_file()]
        return sorted((Model(file.stem, file, file.stat().st_size) for file in files), key=lambda m: m.name)
    except OSError as error:
        raise unusable(error) from error


def resolve(name: str | None, progress: Progress | None = None) -> Path:
    """The file that a user means by a name: nothing or `default`, a path to a file, or an added model.

    Raises:
        TakebackError: there is no such model.
    """
    if name is None or name == DEFAULT:
        return default_model(progress)
    given = Path(name).expanduser()
    if given.is_file():
        return given
    return find(name).path


def lasting(name: str) -> str:
    """A model's name that means the same in any folder: of a file here, its whole path."""
    given = Path(name).expanduser()
    return str(given.absolute()) if name != DEFAULT and given.is_file() else name


def find(name: str) -> Model:
    """The added model of this name.

    Raises:
        TakebackError: there is none; the message lists those that there are.
    """
    known = models()
    for model in known:
        if name in (model.name, model.path.name):
            return model
    names = ", ".join([DEFAULT, *(model.name for model in known)])
    raise TakebackError(
        f"no model or file named '{name}'; there is {names}; add one with: takeback models add FILE"
    )


def add(file: Path) -> Model:
    """Take a GGUF file into the models folder: linked where the file system can, else copied.

    Raises:
        TakebackError: the file cannot be read, is not a sound GGUF file, or its name is taken.
    """
    read_header(file)
    if file.stem == DEFAULT:
        raise TakebackError(f"the name '{DEFAULT}' is that of the built-in model; rename {file} first")
    target = models_dir() / f"{clean_line(file.stem)}.gguf"
    if target.exists():
        raise taken(target)
    try:
        models_dir().mkdir(parents=True, exist_ok=True)
        _link_or_copy(file, target)
        return Model(target.stem, target, target.stat().st_size)
    except OSError as error:
        raise unusable(error) from error


def remove(name: str) -> Model:
    """Remove an added model's file, with the record of its calibration beside it, and say which it was.

    Raises:
        TakebackError: there is no such model, or the file cannot be removed.
    """
    model = find(name)
    record = model.path.with_name(f"{model.path.name}{_CALIBRATION}")
    try:
        model.path.unlink()
        if _tells_of(record, model.path):
            record.unlink()
    except OSError as error:
        raise unusable(error) from error
    return model


def _tells_of(record: Path, model: Path) -> bool:
    """Whether a file is the record of this model's calibration, and not another's or something else."""
    try:
        told = json.loads(record.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(told, dict) and told.get("file") == model.name


def _link_or_copy(file: Path, target: Path) -> None:
    """Put a file at a new place that either holds all of it or does not exist."""
    with suppress(OSError):
        target.hardlink_to(file.resolve())
        return
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with file.open("rb") as source, part.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def name_for(text: str) -> str:
    """A model's name made of an untrusted one: fit for a terminal, and for a file on any system.

    Raises:
        TakebackError: nothing is left of it, or it is the built-in model's.
    """
    name = _NO_FILE_NAME.sub("_", clean_line(text)).encode()[:_NAME_BYTES].decode(errors="ignore")
    name = name.strip(" .-")
    if not name.strip("_"):
        raise TakebackError("the file's name is no name for a model; give it one with --name")
    if name.casefold() == DEFAULT:
        raise TakebackError(
            f"the name '{DEFAULT}' is that of the built-in model; give it another with --name"
        )
    return name


def taken(target: Path) -> TakebackError:
    """The error where another model has the name of a file in the models folder."""
    return TakebackError(
        f"there is a model named '{target.stem}' already; remove it with: takeback models remove {target.stem}"
    )


def unusable(error: OSError) -> TakebackError:
    """The error where the models folder cannot be read or written."""
    return TakebackError(
        f"cannot use the models folder {models_dir()}: {error.strerror or error}; check its rights and space"
    )
