"""Sessions that answer several conversations at a time, with one model in one context."""

from pathlib import Path

from assistant.engine.batch import Batch
from assistant.engine.options import LoadOptions
from assistant.engine.session import Session, load
from convert.progress import Progress


def open_sessions(
    path: Path, options: LoadOptions | None = None, progress: Progress | None = None, *, count: int
) -> list[Session]:
    """So many sessions, each to be used in a thread of its own and to be closed.

    Each has a context as long as the options say; what they decode is batched. The model is freed with the
    last of them. Raises as `load` does.
    """
    options = options or LoadOptions()
    if count == 1:
        return [Session.open(path, options, progress)]
    info, context = load(path, options, progress, sequences=count)
    batch = Batch(context, count)
    try:
        return [Session.on(info, slot, options, owns=False) for slot in batch.slots]
    except BaseException:
        for slot in batch.slots:
            slot.free()
        raise
