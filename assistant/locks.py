"""A lock between processes that the operating system releases when its holder ends, however it ends."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from convert.errors import TakebackError

POLL_SECONDS = 0.1


class FileLock:
    """An exclusive lock on a file, held by one open file at a time.

    The file's existence means nothing: only the operating system's lock on it does, so a killed
    holder leaves nothing behind that must be cleaned up.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def try_acquire(self) -> bool:
        """Take the lock if it is free.

        Raises:
            OSError: the file cannot be opened or made.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _lock(handle) or not _is_at(self.path, handle):
            os.close(handle)
            return False
        self._handle = handle
        return True

    def release(self) -> None:
        """Give the lock back; does nothing where it is not held."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _is_at(path: Path, handle: int) -> bool:
    """Whether the locked file is still the one at its path: its last holder may have removed it meanwhile."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def wait_for(lock: FileLock, waiting: Callable[[], None]) -> None:
    """Take a lock, however long its holder keeps it; `waiting` is called once if it was not free.

    Raises:
        OSError: the file cannot be opened or made.
    """
    if lock.try_acquire():
        return
    waiting()
    while not lock.try_acquire():
        time.sleep(POLL_SECONDS)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Keep a folder of results to one run at a time; it is made if it is not there.

    Raises:
        TakebackError: another run writes there, or the folder cannot be written.
    """
    lock = FileLock(folder / ".lock")
    try:
        free = lock.try_acquire()
    except OSError as error:
        raise TakebackError(f"{folder}: cannot be written: {error.strerror or error}") from error
    if not free:
        raise TakebackError(f"{folder}: another run writes there; wait for it, or choose another --out")
    try:
        yield
    finally:
        lock.release()


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
