"""A model of the hub, fetched into the models folder: whole, checked and named, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from assistant.locks import FileLock
from assistant.models.library import Model, name_for, taken, unusable
from assistant.paths import models_dir
from convert.errors import TakebackError
from convert.gguf_header import read_header
from convert.hub_part import file_digest
from convert.progress import Progress

if TYPE_CHECKING:
    from convert.hub_gguf import Found


class Pulled(NamedTuple):
    """The model, and whether it was here before."""

    model: Model
    was_here: bool


def fetching_dir() -> Path:
    """The folder of what was fetched in part. It may not exist."""
    return models_dir() / ".fetching"


def pull(
    source: str,
    file: str | None = None,
    *,
    name: str | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> Pulled:
    """Fetch a GGUF file of a repository into the models folder; `name` is its name there, else the file's.

    Where it ends early, by an error or by KeyboardInterrupt, what was fetched is kept outside the list of models, and
    the same call goes on with it.

    Raises:
        TakebackError: the repository has no such file, or several and none was named; its name is taken; the
            disk has no room; or what came is not what the hub states, or no sound GGUF file.
    """
    from convert.hub_gguf import bring_gguf, find_gguf  # noqa: PLC0415 (only pulling needs the hub)

    found = find_gguf(source, file, offline=offline)
    target = models_dir() / f"{name_for(name or PurePosixPath(found.stated.name).stem)}.gguf"
    if _is_here(found, target):
        return Pulled(Model(target.stem, target, found.stated.nbytes), True)
    with _only_fetcher(target.stem):
        whole = bring_gguf(found, fetching_dir(), progress)
        try:
            _check(whole, f"{found.hub.repo}: {found.stated.name}")
            if target.exists():
                raise taken(target)
            whole.replace(target)
        except OSError as error:
            raise unusable(error) from error
    return Pulled(Model(target.stem, target, found.stated.nbytes), False)


@contextmanager
def _only_fetcher(name: str) -> Iterator[None]:
    lock = FileLock(fetching_dir() / f"{name}.lock")
    try:
        free = lock.try_acquire()
    except OSError as error:
        raise unusable(error) from error
    if not free:
        raise TakebackError(f"another takeback fetches '{name}' now; wait for it")
    try:
        yield
    finally:
        lock.release()


def _check(whole: Path, name: str) -> None:
    """Raise TakebackError, and remove the file, where it is no sound GGUF file: to fetch it again is no help."""
    try:
        read_header(whole, name)
    except TakebackError:
        whole.unlink()
        raise


def _is_here(found: Found, target: Path) -> bool:
    """Whether the very file is in the models folder already; TakebackError where another one has its name."""
    try:
        if not target.exists():
            return False
        same = target.stat().st_size == found.stated.nbytes
        if same and file_digest(target, found.stated.digest) == found.stated.digest:
            return True
    except OSError as error:
        raise unusable(error) from error
    raise taken(target)
