"""The one model that is loaded: another takes its place, and the memory of the one before is free by then."""

from __future__ import annotations

from collections.abc import Callable

from assistant.conversation.reports import Loaded, LoadFailed, Loading, Model, Report
from convert.errors import TakebackError
from convert.progress import Progress

Loader = Callable[[Progress], Model]
"""Loads a model, and builds it first where that is needed. Raises TakebackError."""


class Slot:
    """For the thread that owns the model; `model` and `held` are for any."""

    def __init__(self, load: Loader, report: Callable[[Report], None]) -> None:
        """`load` loads the model that the program begins with."""
        self.model: Model | None = None
        self.named: Callable[[str], Loader] | None = None
        """What loads a model by its name; None where there is only the first one."""
        self.first = ""
        """The name that the first one has besides."""
        self._load = load
        self._report = report
        self._name: str | None = None
        self._failed = ""
        self._step: tuple[str, int] | None = None

    def own_name(self, name: str | None) -> str | None:
        """A model's name as it is reported: None for the first one."""
        return None if name == self.first or self.named is None else name

    def take(self, name: str | None) -> None:
        """Load a model, and report whether that could be done; None: the first one. A loaded one stays."""
        name = self.own_name(name)
        if self.model is not None and name == self._name:
            self._report(Loaded(self.model.info, name))
            return
        self.free()
        self._name, self._failed, self._step = name, "", None
        load = self._load if name is None or self.named is None else self.named(name)
        try:
            self.model = load(self._progress)
        except Exception as error:  # whatever it is: a thread that dies in silence would be waited for
            self._failed = line_of(error)
            self._report(LoadFailed(self._failed, name))
        else:
            self._report(Loaded(self.model.info, name))

    def have(self, name: str | None) -> Model:
        """The model of a name, which is loaded where another one is here.

        Raises:
            TakebackError: it could not be loaded. It is not tried again here.
        """
        if self.own_name(name) != self._name:
            self.take(name)
        return self.loaded()

    def loaded(self) -> Model:
        """The model that is here, whichever it is. Raises TakebackError where there is none."""
        if self.model is None:
            raise TakebackError(self._failed)
        return self.model

    def free(self) -> None:
        """Let go of the model."""
        model, self.model = self.model, None
        if model is not None:
            model.close()

    def _progress(self, what: str, done: int, total: int) -> None:
        """Report how far the load is, once for each per cent: it may be told a thousand times a second."""
        if (step := (what, done * 100 // total if total > 0 else -1)) != self._step:
            self._step = step
            self._report(Loading(*step))


def line_of(error: Exception) -> str:
    """What went wrong, in one line for the user."""
    if isinstance(error, TakebackError):
        return str(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory for the model; close other programs, or ask for less with --ctx"
    return f"the model does not work: {type(error).__name__}: {error}; try another one with --model"
