"""One file of the hub: what is stated of it, and its bytes, fetched into a part that the next call goes on with."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from convert.errors import TakebackError
from convert.untrusted import clean_line

CHUNK_BYTES = 1 << 18
_PIECE_BYTES = 4 << 20

Count = Callable[[int], None]
"""Told how many bytes of a file are here."""


@dataclass(frozen=True)
class Stated:
    """What the hub states of a file. `digest` is the SHA-256 of a large one, git's blob id of a small one."""

    name: str
    nbytes: int
    digest: str


def stated_files(siblings: list[Any], *, folders: bool = False) -> dict[str, Stated]:
    """A repository's files by name: those at its root, with `folders` all of them."""
    found = {}
    for sibling in siblings:
        name, size = sibling.rfilename, sibling.size
        digest = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
        plain = "\\" not in name and (folders or "/" not in name) and ".." not in name.split("/")
        hashed = re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", str(digest))
        if plain and hashed and type(size) is int and size >= 0:
            found[name] = Stated(name, size, digest)
    return found


def fetch(url: str, repo: str, stated: Stated, part: Path, target: Path, progress: Count) -> None:
    """Fetch a file's bytes into `part`, going on where an earlier call was cut off; checked, it becomes `target`.

    Raises TakebackError, and leaves neither, where size or hash are not those that the hub states. What
    huggingface-hub raises, and KeyboardInterrupt, leave the part for the next call.
    """
    from huggingface_hub import constants  # noqa: PLC0415
    from huggingface_hub.file_download import http_get  # noqa: PLC0415 (slow to import, and seldom needed)
    from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]  # noqa: PLC0415

    # It writes no chunk that has not come whole, and its own are of 10 MB: what breaks sooner would never get on.
    constants.DOWNLOAD_CHUNK_SIZE = CHUNK_BYTES
    part.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(part.with_suffix(".lock")):
        if target.exists():  # another process fetched it meanwhile
            return
        try:
            with part.open("ab") as file:
                have = file.tell()
                if have < stated.nbytes:
                    # Its own check of the size would keep a part that no later call can finish.
                    into = Counted(file, stated.nbytes, progress)
                    http_get(url, into, resume_size=have, headers=build_hf_headers())  # type: ignore[arg-type]
            sound = part.stat().st_size == stated.nbytes and file_digest(part, stated.digest) == stated.digest
        except TooLargeError:
            sound = False
        except BaseException:
            if part.stat().st_size == 0:
                part.unlink()
            raise
        if not sound:
            part.unlink()
            raise TakebackError(
                f"{repo}: {clean_line(stated.name)} does not have the size and hash that the hub states; "
                "it was removed, so run it again"
            )
        part.replace(target)


class TooLargeError(Exception):
    """More bytes came than the hub states; they must not fill the disk."""


class Counted:
    """A file that tells how many bytes it holds, and takes no more than `limit`; huggingface-hub writes to it."""

    def __init__(self, file: BinaryIO, limit: int, told: Count) -> None:
        self.file = file
        self.limit = limit
        self.told = told
        self.tell, self.seek, self.truncate = file.tell, file.seek, file.truncate

    def write(self, data: bytes) -> int:
        """Write a piece; raises TooLargeError, and writes nothing, where it would be too much."""
        if self.file.tell() + len(data) > self.limit:
            raise TooLargeError
        written = self.file.write(data)
        self.told(self.file.tell())
        return written


def file_digest(path: Path, like: str) -> str:
    """The hash of a file, of the kind that `like` is: SHA-256, or git's of a blob."""
    git = len(like) == 40
    found = hashlib.sha1(usedforsecurity=False) if git else hashlib.sha256()
    if git:
        found.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            found.update(piece)
    return found.hexdigest()
