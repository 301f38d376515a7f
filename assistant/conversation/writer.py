"""Who writes a reply: a lock file a process, which tells a living writer from a dead one."""

from __future__ import annotations

import uuid
from contextlib import suppress
from pathlib import Path

from assistant.locks import FileLock


class Writer:
    """This process as a writer of replies; alive for others from `start` until `stop` or its end."""

    def __init__(self, folder: Path) -> None:
        self.name = uuid.uuid4().hex
        self.folder = folder
        self._lock: FileLock | None = None

    def start(self) -> None:
        """Take this writer's lock, if it is not held yet.

        Raises:
            OSError: the lock file cannot be made.
        """
        if self._lock is None:
            lock = FileLock(_file(self.folder, self.name))
            while not lock.try_acquire():
                pass  # someone is looking whether we live; they let go at once
            self._lock = lock

    def stop(self) -> None:
        """Give the lock back and remove its file."""
        if self._lock is not None:
            with suppress(PermissionError):  # Windows keeps an open file; an unlocked one does no harm
                self._lock.path.unlink(missing_ok=True)
            self._lock.release()
            self._lock = None


def is_alive(folder: Path, name: str) -> bool:
    """Whether a writer's process still runs; removes the lock file of a dead one.

    Raises:
        OSError: the lock file cannot be looked at.
    """
    file = _file(folder, name)
    if not file.exists():
        return False
    lock = FileLock(file)
    if not lock.try_acquire():
        return True
    with suppress(PermissionError):
        file.unlink(missing_ok=True)
    lock.release()
    return False


def others_live(folder: Path) -> bool:
    """Whether any writer's process still runs, for one that has not started yet itself.

    Raises:
        OSError: a lock file cannot be looked at.
    """
    return any(is_alive(folder, file.stem) for file in folder.glob("*.lock"))


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.lock"
