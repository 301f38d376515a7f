"""Finds a GGUF file in a repository of the hub and fetches it: one file, whole and checked, or none.

What huggingface-hub's cache holds already is taken from there, and offline only that.
"""

import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from convert.errors import TakebackError, UsageError
from convert.hub import HubId, blob_path, hub_id, is_offline, one_line, require_room
from convert.hub_part import Stated, fetch, file_digest, stated_files
from convert.progress import Progress, silent
from convert.untrusted import clean_line

_SUFFIX = ".gguf"
_PIECE = re.compile(r"-\d{5}-of-\d{5}\.gguf", re.IGNORECASE)
_LISTED = 40


class Found(NamedTuple):
    """A GGUF file on the hub, or, where `commit` is None, in the cache of what was fetched before."""

    hub: HubId
    commit: str | None
    stated: Stated


def find_gguf(source: str, name: str | None = None, *, offline: bool = False) -> Found:
    """The file of this name in a repository, `ORG/NAME` or `ORG/NAME@REVISION`, or its only GGUF file.

    Raises TakebackError where there is none, or, without a name, several: then the message lists them.
    """
    hub = _hub(source)
    with one_line(hub):
        commit, there = _there(hub, offline=offline)
        return Found(hub, commit, _chosen(hub, there, name))


def list_gguf(source: str, *, offline: bool = False) -> list[Stated]:
    """The GGUF files of a repository that are whole models, the smallest first.

    Raises TakebackError where there is none.
    """
    hub = _hub(source)
    with one_line(hub):
        _, there = _there(hub, offline=offline)
        return _alone(hub, there)


def _hub(source: str) -> HubId:
    hub = hub_id(f"hf://{source.removeprefix('hf://')}")
    if hub is None:
        raise UsageError(f"{clean_line(source)}: a repository on the hub is written ORG/NAME")
    return hub


def _there(hub: HubId, *, offline: bool) -> tuple[str | None, list[Stated]]:
    """A repository's files and their commit; offline, those that were fetched before, of which no commit is known."""
    if offline or is_offline():
        return None, _cached(hub)
    from huggingface_hub import HfApi  # noqa: PLC0415 (slow to import, and seldom needed)

    info = HfApi().model_info(hub.repo, revision=hub.revision, files_metadata=True)
    if not re.fullmatch("[0-9a-f]{40}", str(info.sha)):
        raise ValueError("it states no commit")
    return str(info.sha), list(stated_files(info.siblings or [], folders=True).values())


def bring_gguf(found: Found, folder: Path, progress: Progress | None = None) -> Path:
    """Fetch a file into a folder, where it is named after its hash; the next call goes on with what is there.

    Raises TakebackError where the disk has no room, the hub or the network does not give it, or it is not
    what the hub states.
    """
    hub, commit, stated = found
    whole, part = folder / stated.digest, folder / f"{stated.digest}.part"
    report = progress or silent
    with one_line(hub):
        folder.mkdir(parents=True, exist_ok=True)
        if not whole.exists() and not _taken_from_cache(hub, stated, whole):
            from huggingface_hub import hf_hub_url  # noqa: PLC0415

            if commit is None:
                raise TakebackError(f"{hub.repo}: {clean_line(stated.name)} in the cache is gone")
            have = part.stat().st_size if part.exists() else 0
            require_room(hub, folder, stated.nbytes - have, "TAKEBACK_HOME")
            report("fetching", have, stated.nbytes)  # before the first byte comes, which may take a while
            url = hf_hub_url(hub.repo, stated.name, revision=commit)
            fetch(url, hub.repo, stated, part, whole, lambda done: report("fetching", done, stated.nbytes))
        elif file_digest(whole, stated.digest) != stated.digest:
            whole.unlink()
            raise TakebackError(
                f"{hub.repo}: {clean_line(stated.name)} in huggingface-hub's cache is damaged; "
                f"remove {blob_path(hub, stated.digest)} and run it again"
            )
    return whole


def megabytes(nbytes: int) -> str:
    """A file's size as it is told to users."""
    return f"{max(nbytes / 1e6, 1):,.0f} MB" if nbytes else "empty"


def _chosen(hub: HubId, there: Iterable[Stated], name: str | None) -> Stated:
    models = _models(hub, there)
    whole = [stated for stated in models.values() if not _PIECE.search(stated.name)]
    if name is not None and _PIECE.search(name):
        raise TakebackError(f"{clean_line(name)}: is a piece of a model, which is read from one file only")
    if name is not None and name not in models:
        raise TakebackError(f"{hub.repo}: has no {clean_line(name)}; there is {_listed(whole)}")
    if name is not None:
        return models[name]
    alone = _alone(hub, whole)
    if len(alone) == 1:
        return alone[0]
    raise TakebackError(f"{hub.repo}: has several GGUF files; name one of them: {_listed(alone)}")


def _models(hub: HubId, there: Iterable[Stated]) -> dict[str, Stated]:
    models = {stated.name: stated for stated in there if stated.name.lower().endswith(_SUFFIX)}
    if not models:
        hint = f"for its checkpoint, if it has one: takeback convert {hub.repo} model.gguf"
        raise TakebackError(f"{hub.repo}: has no GGUF file here; {hint}")
    return models


def _alone(hub: HubId, there: Iterable[Stated]) -> list[Stated]:
    """The files that are a model each, the smallest first. A picture reader beside a model is none of its own."""
    alone = [
        stated
        for stated in _models(hub, there).values()
        if not _PIECE.search(stated.name) and "mmproj" not in stated.name.lower()
    ]
    if not alone:
        raise TakebackError(f"{hub.repo}: has only models in pieces, and one is read from one file only")
    return sorted(alone, key=lambda stated: (stated.nbytes, stated.name))


def _listed(files: list[Stated]) -> str:
    """Names and sizes, the smallest first."""
    ordered = sorted(files, key=lambda stated: (stated.nbytes, stated.name))
    names = [f"{clean_line(stated.name)} ({megabytes(stated.nbytes)})" for stated in ordered[:_LISTED]]
    more = f", and {len(ordered) - _LISTED} more" if len(ordered) > _LISTED else ""
    return (", ".join(names) or "nothing that is read from one file") + more


def _cached(hub: HubId) -> list[Stated]:
    """The GGUF files of a repository that were fetched before, by huggingface-hub or another program."""
    from huggingface_hub import errors, snapshot_download  # noqa: PLC0415

    try:
        folder = Path(snapshot_download(hub.repo, revision=hub.revision, local_files_only=True))
    except errors.LocalEntryNotFoundError as error:
        raise TakebackError(
            f"{hub.repo}: was not fetched before, and offline nothing is; run it once without --offline and "
            "HF_HUB_OFFLINE"
        ) from error
    files = [path for path in folder.rglob("*") if path.suffix.lower() == _SUFFIX and path.is_file()]
    blobs = [(path, path.resolve()) for path in files]
    return [
        Stated(path.relative_to(folder).as_posix(), blob.stat().st_size, blob.name)
        for path, blob in blobs
        if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", blob.name)
    ]


def _taken_from_cache(hub: HubId, stated: Stated, whole: Path) -> bool:
    """Whether huggingface-hub's cache has the file; it is then linked, or copied to another disk."""
    blob = blob_path(hub, stated.digest)
    if not blob.is_file():
        return False
    with suppress(OSError):
        whole.hardlink_to(blob)
        return True
    require_room(hub, whole.parent, stated.nbytes, "TAKEBACK_HOME")
    copy = whole.with_name(f"{whole.name}.copy")
    shutil.copyfile(blob, copy)
    copy.replace(whole)
    return True
