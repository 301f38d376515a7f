"""What a model has read, on the disk, so that a long chat that is opened again need not be read anew.

One file holds one conversation's token ids and llama.cpp's state of having read them. It is the reader's alone
(0600), whole or not there, known by the model and by how it was loaded, and of none but prompts and finished
replies. A file that is not as it was written is deleted unread. When a chat is deleted, all of them are.
"""

import hashlib
import os
import struct
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from assistant.paths import cache_dir

_MAGIC = b"TAKEBACK PROMPT\1"
_HEAD = struct.Struct("<16s32s32sI")  # magic, key, SHA-256 of what follows, number of ids
_ENDING = ".prompt"
_FORGOTTEN = "forgotten"
_MOST_FILES = 64
_SAMPLES, _SAMPLE = 64, 1 << 16


class PromptCache:
    """The prompts of one model in one folder, of which no more than `most` bytes are kept, the last used ones.

    That something cannot be kept or read is no error: the model then reads it again.
    """

    def __init__(self, folder: Path, key: bytes, most: int) -> None:
        """`key` of 32 bytes tells apart what must not be exchanged."""
        self._folder, self._key, self._most = folder, key, most
        with suppress(OSError):  # before anything is read, so that `forget_prompts` has where to say so
            _make(folder)

    def find(self, ids: Sequence[int], least: int, *, whole: bool) -> Path | None:
        """The file that holds the most of these ids' beginning, at least so many; `whole`: and no others."""
        wanted, most, best = _packed(ids), least - 1, None
        for path in self._files():
            held = self._ids(path)
            same = _common(held, wanted) // 4
            if same > most and not (whole and 4 * same < len(held)):
                most, best = same, path
        return best

    def read(self, path: Path) -> tuple[list[int], bytearray] | None:
        """The ids and the state in a file; None, and then the file is gone, if it is not as it was written."""
        try:
            with path.open("rb") as file:
                magic, key, digest, count = _HEAD.unpack(file.read(_HEAD.size))
                data = bytearray(os.fstat(file.fileno()).st_size - _HEAD.size)
                file.readinto(data)
            size = 4 * count
            if (magic, key) != (_MAGIC, self._key) or size > len(data) or _sha256(data) != digest:
                raise ValueError
            ids = array("i", bytes(data[:size])).tolist()
            del data[:size]
            os.utime(path)
        except (OSError, ValueError, struct.error):
            _remove(path)
            return None
        return ids, data

    def write(self, ids: Sequence[int], state: bytearray, begun: int) -> None:
        """Keep a state, in the place of those of its beginnings. `begun`: when its chat was last gone on with.

        It is not kept if prompts were to be forgotten since that time, in nanoseconds since 1970, or are meanwhile.
        """
        packed = _packed(ids)
        if _HEAD.size + len(packed) + len(state) > self._most or _forgotten(self._folder) >= begun:
            return
        path = self._folder / f"{self._key[:8].hex()}-{_sha256(packed).hex()[:32]}{_ENDING}"
        part = path.with_suffix(f".{os.getpid()}.part")
        digest = hashlib.sha256(packed)
        digest.update(state)
        try:
            _make(self._folder)
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(_HEAD.pack(_MAGIC, self._key, digest.digest(), len(ids)) + packed)
                file.write(state)
            for other in self._files():  # only now: until here they were good
                if packed.startswith(self._ids(other) or b"\0"):
                    _remove(other)
            part.replace(path)  # not synced: what a power cut makes of it is no longer what its digest says
            if _forgotten(self._folder) >= begun:  # whoever forgets later finds the file
                _remove(path)
        except OSError:
            _remove(part)
        self._evict()

    def takes(self, size: int) -> bool:
        """Whether a state of so many bytes may be kept at all."""
        return size < self._most

    def drop(self, path: Path) -> None:
        """Delete a file that cannot be used."""
        _remove(path)

    def covers(self, ids: Sequence[int]) -> bool:
        """Whether a file holds all of these ids, and perhaps more."""
        packed = _packed(ids)
        return any(self._ids(path).startswith(packed) for path in self._files())

    def _files(self) -> list[Path]:
        """This model's files."""
        return sorted(self._folder.glob(f"{self._key[:8].hex()}-*{_ENDING}"))

    def _ids(self, path: Path) -> bytes:
        """The ids in a file, packed; none, and then the file may be gone, where it is none of this model."""
        try:
            with path.open("rb") as file:
                magic, key, _, count = _HEAD.unpack(file.read(_HEAD.size))
                if magic != _MAGIC:
                    raise ValueError
                return file.read(4 * count) if key == self._key and count < 1 << 24 else b""
        except (OSError, ValueError, struct.error):
            _remove(path)
            return b""

    def _evict(self) -> None:
        """Delete the files that were not used for longest, whatever model's they are, until the rest fits."""
        room = self._most
        for number, (path, stat) in enumerate(_by_use(self._folder)):
            room -= stat.st_size
            if room < 0 or number >= _MOST_FILES:
                _remove(path)


def forget_prompts() -> None:
    """Delete all that any model has read, and keep nothing of what is in a program's memory now."""
    folder = prompts_dir()
    if not folder.is_dir():
        return
    with suppress(OSError):
        (folder / _FORGOTTEN).write_bytes(b"")
        now = time.time_ns()
        os.utime(folder / _FORGOTTEN, ns=(now, now))  # the system's own stamps lag by milliseconds
    for path, _ in _by_use(folder):
        _remove(path)


def prompts_dir() -> Path:
    """Where they are kept. It may not exist yet."""
    return cache_dir() / "prompts"


def model_key(path: Path, header_sha256: str, *settings: object) -> bytes:
    """What tells models apart, and ways to load them: 32 bytes.

    Of the weights it takes samples: to read all of a large file would take longer than what it saves.
    """
    digest = hashlib.sha256(header_sha256.encode())
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        digest.update(repr((stat.st_size, stat.st_mtime_ns, *settings)).encode())
        for sample in range(_SAMPLES):
            file.seek(stat.st_size * sample // _SAMPLES)
            digest.update(file.read(_SAMPLE))
    return digest.digest()


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _by_use(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The files of all models, and what is left of some that were being written, the last used first."""
    found = []
    for path in [*folder.glob(f"*{_ENDING}"), *folder.glob("*.part")]:
        with suppress(OSError):
            found.append((path, path.stat()))
    return iter(sorted(found, key=lambda one: -one[1].st_mtime_ns))


def _forgotten(folder: Path) -> int:
    """When prompts were last to be forgotten, in nanoseconds; 0: never."""
    try:
        return (folder / _FORGOTTEN).stat().st_mtime_ns
    except OSError:
        return 0


def _packed(ids: Sequence[int]) -> bytes:
    return array("i", ids).tobytes()


def _common(one: bytes, other: bytes) -> int:
    """How many bytes of their beginnings are the same, in whole ids."""
    low, high = 0, min(len(one), len(other)) // 4
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[: 4 * middle] == other[: 4 * middle] else (low, middle - 1)
    return 4 * low


def _sha256(data: bytes | bytearray) -> bytes:
    return hashlib.sha256(data).digest()


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
