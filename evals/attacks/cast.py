"""Who is attacked and by what: sessions and weights, loaded when first needed, each file once."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from assistant.engine.options import LoadOptions
from assistant.engine.session import Session
from convert.progress import Progress, silent
from evals.attacks.plan import Plan, Side
from evals.cases import Mode
from evals.digest import file_sha256

CONTEXT = 2048
"""Tokens: a story, a request and a reply fit."""


class Cast:
    """The models of a run, on either side of it. Use it as a context manager."""

    def __init__(self, plan: Plan, progress: Progress = silent) -> None:
        self._plan, self._progress = plan, progress
        self._sessions: dict[Path, Session] = {}
        self._digests: dict[Path, str] = {}
        self._weights: tuple[Path, Any] | None = None

    def path(self, side: Side) -> Path:
        """The file of the model on this side."""
        return self._plan.base if side == "baseline" and self._plan.baseline == "base" else self._plan.model

    def mode(self, side: Side) -> Mode:
        """How the model on this side is asked."""
        return "on" if side == "backtracking" else self._plan.baseline

    def session(self, path: Path) -> Session:
        """The model of a file, loaded in the engine."""
        if path not in self._sessions:
            self._sessions[path] = Session.open(path, LoadOptions(ctx=CONTEXT, threads=self._plan.threads))
        return self._sessions[path]

    def weights(self, path: Path) -> Any:  # noqa: ANN401 (torch's objects are Any)
        """The model of a file in torch. Only the last one is kept: it is large."""
        from evals.attacks.whitebox.weights import load_weights  # noqa: PLC0415 (only gradients need torch)

        if self._weights is None or self._weights[0] != path:
            self._weights = None
            self._weights = path, load_weights(path, self._plan.threads)
        return self._weights[1]

    def digest(self, path: Path) -> str:
        """The SHA-256 of a file."""
        if path not in self._digests:
            what = f"{path.name}: checking the file"
            self._digests[path] = file_sha256(path, lambda done, total: self._progress(what, done, total))
        return self._digests[path]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._weights = None
        for session in self._sessions.values():
            session.close()
