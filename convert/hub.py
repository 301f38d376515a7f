"""Fetches a checkpoint or an adapter from the Hugging Face hub: what is converted and nothing else.

The files go to huggingface-hub's own cache, where other programs find them too. huggingface-hub begins a file
again that was cut off, and checks no hash; so each file is fetched here into one of its own name, which the next
call goes on with, and gets its place in the cache only when its size and its hash are those that the hub states.
"""

import errno
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from convert.checkpoint import PICKLES, index_files, read_json
from convert.errors import TakebackError
from convert.hub_part import Count, Stated, fetch, file_digest, stated_files
from convert.progress import Progress, silent
from convert.untrusted import clean_line

_INDEX, _SINGLE, _ADAPTER = "model.safetensors.index.json", "model.safetensors", "adapter_model.safetensors"
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json")
_SMALL = ("generation_config.json", "chat_template.jinja", "backtrack.json", *_TOKENIZER)
_MAX_SMALL_BYTES = 256 << 20
_SCHEME = "hf://"
_ID = re.compile(r"([\w.-]{1,96}/[\w.-]{1,96})(?:@([\w./-]{1,120}))?", re.ASCII)


class HubId(NamedTuple):
    """A repository on the hub, `org/name`, and a branch, tag or commit of it; None is its main branch."""

    repo: str
    revision: str | None


def hub_id(source: str) -> HubId | None:
    """The repository that a source means: `org/name` where that is no path here, or `hf://org/name` anywhere.

    `@revision` may follow. None where the source can only be a path.
    """
    found = _ID.fullmatch(source.removeprefix(_SCHEME))
    if found is None or found[1].startswith(".") or ".." in source:
        return None
    if not source.startswith(_SCHEME) and (Path(source).exists() or Path(source).parent.exists()):
        return None
    return HubId(found[1], found[2])


def local(
    source: str, *, adapter: bool = False, offline: bool = False, progress: Progress | None = None
) -> Path:
    """The path of a source, which is fetched first where it is a repository on the hub.

    `adapter` asks for the repository's adapter instead of its model. Raises TakebackError where the repository
    or the network does not give what is needed, and, `offline`, where it was not fetched before.
    """
    found = hub_id(source)
    if found is None:
        return Path(source)
    with one_line(found):
        if offline or is_offline():
            return _from_cache(found, adapter=adapter)
        return _fetched(found, adapter=adapter, progress=progress or silent)


def is_offline() -> bool:
    """Whether the user's environment says that nothing is to be fetched (HF_HUB_OFFLINE)."""
    from huggingface_hub import constants  # noqa: PLC0415 (slow to import, and seldom needed)

    return bool(constants.HF_HUB_OFFLINE)


@contextmanager
def one_line(hub: HubId) -> Iterator[None]:
    """Keep huggingface-hub from printing, and turn all that it raises into one line."""
    from huggingface_hub import errors, utils  # noqa: PLC0415

    utils.disable_progress_bars()  # type: ignore[attr-defined]
    utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    failed = getattr(errors, "HTTPError", OSError)  # of the HTTP library, whichever it is
    try:
        yield
    except errors.GatedRepoError as error:
        why = "is gated: ask for access on its page, then log in with `hf auth login`"
        raise TakebackError(f"{hub.repo}: {why}") from error
    except errors.RepositoryNotFoundError as error:
        why = "there is no such folder here and no such repository; if it is private, log in with `hf auth login`"
        raise TakebackError(f"{hub.repo}: {why}") from error
    except errors.RevisionNotFoundError as error:
        raise TakebackError(f"{hub.repo}: has no revision {clean_line(hub.revision or 'main')}") from error
    except (failed, OSError) as error:
        raise TakebackError(f"{hub.repo}: cannot be fetched: {_reason(error)}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise TakebackError(f"{hub.repo}: the hub's answer cannot be understood: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full; what was fetched is kept, so make room and run it again"
    if getattr(getattr(error, "response", None), "status_code", None) == 401:
        return "the hub does not take your token; log in again with `hf auth login`"
    said = clean_line(str(error))[:160] or type(error).__name__
    return f"{said}; what was fetched is kept, so run it again, or use --offline for what is here already"


def _fetched(hub: HubId, *, adapter: bool, progress: Progress) -> Path:
    from huggingface_hub import HfApi, hf_hub_download  # noqa: PLC0415

    info = HfApi().model_info(hub.repo, revision=hub.revision, files_metadata=True)
    there = stated_files(info.siblings or [])
    config = "adapter_config.json" if adapter else "config.json"
    if config not in there:
        raise TakebackError(f"{hub.repo}: has no {config}, so it is no {'adapter' if adapter else 'model'}")
    commit = str(info.sha)
    small = [there[name] for name in (config, *_SMALL, *(() if adapter else (_INDEX,))) if name in there]
    for stated in small:
        if stated.nbytes > _MAX_SMALL_BYTES:
            raise TakebackError(f"{hub.repo}: {stated.name} is larger than {_MAX_SMALL_BYTES >> 20} MiB")
        _bring(hub, commit, stated, lambda done: None)
    folder = Path(hf_hub_download(hub.repo, config, revision=hub.revision)).parent
    if folder.name != commit:
        raise TakebackError(f"{hub.repo}: was changed while it was fetched; run it again")
    weights = [there[name] for name in _weights(hub, folder, there, adapter=adapter)]
    _check_room(hub, weights)
    total, before = sum(stated.nbytes for stated in weights), 0
    for stated in weights:
        _bring(hub, commit, stated, lambda done, start=before: progress("fetching", start + done, total))  # type: ignore[misc]
        before += stated.nbytes
    return folder


def _weights(hub: HubId, folder: Path, there: Mapping[str, Any], *, adapter: bool) -> list[str]:
    """The names of the files that hold the weights; all of them must be `there`."""
    if adapter:
        names = [_ADAPTER]
    elif _INDEX in there:
        names = index_files(folder / _INDEX, read_json(folder / _INDEX))
    else:
        names = [_SINGLE]
    missing = [name for name in names if name not in there]
    if missing:
        pickles = sorted(name for name in there if name.endswith(PICKLES))
        hint = f"; {clean_line(pickles[0])} is a pickle file, which is never read" if pickles else ""
        raise TakebackError(f"{hub.repo}: has no {clean_line(missing[0])}{hint}")
    return names


def blob_path(hub: HubId, digest: str) -> Path:
    """Where huggingface-hub's cache has a file's bytes, whatever its name."""
    from huggingface_hub import constants  # noqa: PLC0415

    return Path(constants.HF_HUB_CACHE) / f"models--{hub.repo.replace('/', '--')}" / "blobs" / digest


def _part(hub: HubId, digest: str) -> Path:
    return blob_path(hub, f"{digest}.takeback")


def _check_room(hub: HubId, wanted: list[Stated]) -> None:
    """Refuse before the start what the disk cannot hold."""
    missing = 0
    for stated in wanted:
        part = _part(hub, stated.digest)
        have = part.stat().st_size if part.exists() else 0
        missing += 0 if blob_path(hub, stated.digest).exists() else stated.nbytes - have
    require_room(hub, blob_path(hub, ""), missing, "HF_HOME")


def require_room(hub: HubId, folder: Path, nbytes: int, variable: str) -> None:
    """Raise TakebackError where a folder's disk has no room; `variable` is what moves the folder."""
    free = shutil.disk_usage(folder).free
    if nbytes > free:
        raise TakebackError(
            f"{folder}: fetching {hub.repo} needs {nbytes >> 20:,} MiB of free space and has {free >> 20:,} MiB; "
            f"make room, or set {variable} to another disk"
        )


def _bring(hub: HubId, commit: str, stated: Stated, progress: Count) -> None:
    """See that a file is in the cache with the hash that the hub states."""
    from huggingface_hub import hf_hub_download, hf_hub_url, try_to_load_from_cache  # noqa: PLC0415

    blob = blob_path(hub, stated.digest)
    cached = try_to_load_from_cache(hub.repo, stated.name, revision=commit)
    if not isinstance(cached, str) and not blob.exists():
        url = hf_hub_url(hub.repo, stated.name, revision=commit)
        fetch(url, hub.repo, stated, _part(hub, stated.digest), blob, progress)
    path = Path(hf_hub_download(hub.repo, stated.name, revision=commit))
    if path.stat().st_size != stated.nbytes or file_digest(path, stated.digest) != stated.digest:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise TakebackError(
            f"{hub.repo}: {clean_line(stated.name)} in the cache was damaged and is removed; run it again"
        )
    progress(stated.nbytes)


def _from_cache(hub: HubId, *, adapter: bool) -> Path:
    """The folder of a repository that was fetched before, with its hashes checked where the cache has them."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415

    config = "adapter_config.json" if adapter else "config.json"
    found = try_to_load_from_cache(hub.repo, config, revision=hub.revision)
    if not isinstance(found, str):
        raise TakebackError(
            f"{hub.repo}: was not fetched before, and offline nothing is; run it once without --offline and "
            "HF_HUB_OFFLINE"
        )
    folder = Path(found).parent
    there = {path.name: path for path in folder.iterdir()}
    for name in (*_weights(hub, folder, there, adapter=adapter), config, *_SMALL):
        digest = there[name].resolve().name if name in there else ""
        if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", digest) and file_digest(there[name], digest) != digest:
            raise TakebackError(f"{hub.repo}: {name} in the cache is damaged; run it once without --offline")
    return folder
