"""How a chat loads its model."""

from __future__ import annotations

import gc

from assistant.conversation.model_thread import Loader
from assistant.conversation.reports import Model
from assistant.engine.options import LoadOptions
from convert.progress import Progress


def loader(name: str | None, options: LoadOptions) -> Loader:
    """What loads the model that a user means by a name, in whatever thread calls it; None is the default one.

    Nothing heavy is imported before that.
    """

    def load(progress: Progress) -> Model:
        from assistant.models.library import resolve  # noqa: PLC0415

        path = resolve(name, progress)
        progress("loading the model", 0, 0)
        from assistant.engine.session import Session  # noqa: PLC0415 (it loads llama.cpp)

        session = Session.open(path, options, progress)
        # All modules are loaded now, and no reply has begun. Left out of the garbage collector's full
        # passes, what there is no longer makes the screen stand still for 70 ms each second of a reply.
        gc.freeze()
        return session

    return load
