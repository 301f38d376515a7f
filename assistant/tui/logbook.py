"""What the program notes down of its own work: in memory for the log's page, and in a file.

No text of a chat is in it: no prompt, reply, draft, title or file that was attached. Of a reply there are counts
and times; of an error during one, only the words before what it may quote.
"""

from __future__ import annotations

import logging
import os
import re
import traceback
from collections import deque
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from assistant.conversation.reports import Loaded, LoadFailed, Loading, Problem, Replied, Report
from assistant.engine.events import Done, Error, Reset
from convert.untrusted import clean_line

LOG = logging.getLogger("takeback")
MOST_LINES = 1_000
FILE_BYTES = 1 << 18
"""Of the file; one older file is kept beside it."""
LONGEST_LINE = 400

_GIST = re.compile(r"[^:]{1,120}(?:: \w*Error\b)?")


class _Lines(logging.Handler):
    """Keeps the last lines, and counts all."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[tuple[int, str]] = deque(maxlen=MOST_LINES)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelno, self.format(record)))
        self.count += 1


class _OneLine(logging.Formatter):
    """Time, level and message in one line fit for a terminal, without a traceback: that would quote."""

    def format(self, record: logging.LogRecord) -> str:
        said = clean_line(record.getMessage())[:LONGEST_LINE]
        who = "" if record.name == LOG.name else f"{record.name}: "
        return f"{self.formatTime(record, '%Y-%m-%d %H:%M:%S')} {record.levelname:<7} {who}{said}"


class _File(RotatingFileHandler):
    """A file that only the user can read. Where it cannot be written, the chat goes on without it."""

    def _open(self) -> TextIOWrapper:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return open(
            self.baseFilename, "a", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)
        )

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the library's name)
        """Say nothing: standard error is the screen."""


_KEPT = _Lines()


def begin(file: Path | None) -> None:
    """Keep what is noted down from now on, also warnings of libraries; in `file` what is not just a detail."""
    LOG.setLevel(logging.DEBUG)
    root = logging.getLogger()
    for before in [handler for handler in root.handlers if isinstance(handler, _Lines | _File)]:
        root.removeHandler(before)
        before.close()
    handlers: list[logging.Handler] = [_KEPT]
    if file is not None:
        to_file = _File(file, maxBytes=FILE_BYTES, backupCount=1, delay=True)
        to_file.setLevel(logging.INFO)
        handlers.append(to_file)
    for handler in handlers:
        handler.setFormatter(_OneLine())
        root.addHandler(handler)


def lines(least: int = logging.DEBUG) -> list[tuple[int, str]]:
    """The last lines of at least this level, each with its own."""
    return [(level, line) for level, line in list(_KEPT.lines) if level >= least]


def count() -> int:
    """How many lines there ever were."""
    return _KEPT.count


def note(report: Report) -> None:
    """Note down what the model's thread reports, from any thread."""
    match report:
        case Loading(what, percent) if percent in (-1, 0, 100):
            LOG.debug("%s", what)
        case Loaded(info):
            takes_back = "takes back" if info.contract is not None else "cannot take back"
            LOG.info("model %s: %s tokens of context, %s", info.name, info.context_length, takes_back)
            if info.note:
                LOG.warning("%s", info.note)
        case LoadFailed(message):
            LOG.error("%s", message)
        case Problem(message):
            LOG.warning("%s", gist(message))
        case Replied(event=Reset() as reset):
            LOG.info(
                "draft taken back: %d tokens, %d characters of it shown, %.1f ms",
                reset.discarded_tokens,
                reset.shown_chars,
                reset.rewind_ms,
            )
        case Replied(event=Done() as done):
            speed = f", {done.tokens_per_s:.1f} tokens/s" if done.tokens_per_s else ""
            LOG.info("reply: %s, %d tokens, %d resets%s", done.reason, done.tokens, done.resets, speed)
        case Replied(event=Error(message)):
            LOG.error("reply failed: %s", gist(message))


def note_failure(error: BaseException | None) -> str:
    """Note down where the program failed, without what its variables held; returns what to tell the user."""
    error = getattr(error, "error", error)  # a worker's failure has its own within
    kind = type(error).__name__
    for frame in traceback.extract_tb(None if error is None else error.__traceback__):
        LOG.critical("  %s, line %d, in %s", Path(frame.filename).name, frame.lineno or 0, frame.name)
    LOG.critical("the chat has failed: %s", kind)
    return f"the chat has failed: {kind}"


def gist(message: str) -> str:
    """The beginning of an error's line, without what it quotes: that could be text of a chat."""
    found = _GIST.match(message)
    return found[0] if found else "error"
