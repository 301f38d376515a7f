"""The file that llama.cpp reads a model from while it runs: what becomes of it must not end the program.

llama.cpp maps the file. Bytes that are written over are read as weights, and a page that cannot be read (the
file was cut off, the disk is gone) ends a process by SIGBUS. So the file is looked at around each decode, and
on Linux such a page is replaced by zeros: the decode then ends in an error, and the program goes on.
"""

import ctypes
import os
import signal
import sys
import weakref
from pathlib import Path

from convert.errors import TakebackError

_MOST_SIGNALS = 1_024
"""Then they are no model's: every thread of a decode may bring one, of hundreds, and no page brings two."""

_open: "weakref.WeakSet[ModelFile]" = weakref.WeakSet()


class ModelFile:
    """The file of a loaded model. Deleting or replacing it does no harm: llama.cpp keeps what it has opened.

    Raises TakebackError if it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise TakebackError(f"{path}: cannot be read: {error.strerror or error}") from error
        self.close = weakref.finalize(self, os.close, self._descriptor)
        self._stamp = self._look()
        self._lost = False
        _open.add(self)
        _replace_unreadable_pages()

    def check(self) -> None:
        """Raise TakebackError if what llama.cpp reads is no longer what was loaded."""
        if self._lost or self._look() != self._stamp:
            raise TakebackError(
                f"{self._path}: the model's file was changed or lost while it was in use; start takeback again"
            )

    def _look(self) -> tuple[int, int]:
        """Size and time; of the file that was opened, whatever is at its path by now."""
        found = os.fstat(self._descriptor)
        return found.st_size, found.st_mtime_ns

    def put_zeros(self) -> bool:
        """Put zeros in the place of all that is mapped of it; whether there was anything."""
        name = os.fsencode(Path(f"/proc/self/fd/{self._descriptor}").readlink()).replace(b"\n", rb"\012")
        for line in Path("/proc/self/maps").read_bytes().splitlines():
            span, _, _, _, _, *mapped = line.split(maxsplit=5)
            if mapped == [name]:
                self._lost = True
                start, end = (int(part, 16) for part in span.split(b"-"))
                _c.mmap(start, end - start, _READ, _PRIVATE | _ANONYMOUS | _FIXED, -1, 0)
        return self._lost


if sys.platform == "linux":
    from mmap import MAP_ANONYMOUS as _ANONYMOUS
    from mmap import MAP_PRIVATE as _PRIVATE
    from mmap import PROT_READ as _READ

    _FIXED = 0x10
    _c = ctypes.CDLL(None)
    _c.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    _c.mmap.restype = ctypes.c_void_p
    _c.signal.argtypes, _c.signal.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    _signals = 0

    def _unreadable(number: int) -> None:
        """Called in the thread that read the page, in the midst of llama.cpp, which then reads it again.

        Python's own handlers would wait for that read to end. Here it holds no lock, and Python's is free.
        """
        global _signals  # noqa: PLW0603 (a process has one handler)
        _signals += 1
        found = [file for file in _open if file.put_zeros()]
        if not found or _signals > _MOST_SIGNALS:
            _c.signal(number, None)  # SIG_DFL: the read ends the process, as without us

    _handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(_unreadable)

    def _replace_unreadable_pages() -> None:
        _c.signal(signal.SIGBUS, ctypes.cast(_handler, ctypes.c_void_p))
else:

    def _replace_unreadable_pages() -> None:
        """Elsewhere the process ends; what was said is on the disk."""
