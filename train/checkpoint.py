"""What a run keeps on disk: whose folder it is, its state as safetensors (never pickle), and its log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from convert.errors import TakebackError

STATE = "state.safetensors"


def claim(out: Path, fingerprint: str) -> None:
    """Mark the folder as this run's. Raises TakebackError where another run's settings or data are in it."""
    mark, path = hashlib.sha256(fingerprint.encode()).hexdigest(), out / "run.json"
    if path.exists() and json.loads(path.read_text("utf-8")).get("sha256") != mark:
        raise TakebackError(
            f"{out} holds a run with other settings or data: name another --out, or delete it"
        )
    path.write_text(json.dumps({"sha256": mark, "settings": fingerprint}), encoding="utf-8")


def begun(out: Path) -> bool:
    """Whether the folder holds a checkpoint to go on from."""
    return (out / STATE).exists()


def save(out: Path, step: int, objective: Any, optimizer: Any) -> None:
    """Write the trained parameters and Adam's moments, whole or not at all."""
    state = {}
    for name, parameter in _trained(objective):
        state[name] = parameter.detach().cpu().contiguous()
        for key, value in optimizer.state.get(parameter, {}).items():
            state[f"{key}:{name}"] = value.detach().cpu().contiguous().clone()
    temporary = out / (STATE + ".part")
    save_file(state, temporary, metadata={"step": str(step)})
    temporary.replace(out / STATE)


def resume(out: Path, objective: Any, optimizer: Any) -> int:
    """Put a saved state back; returns the number of steps done, 0 where nothing was saved."""
    if not begun(out):
        return 0
    path = out / STATE
    state = load_file(path)
    step = _step(path)
    for name, parameter in _trained(objective):
        parameter.data.copy_(state[name])
        moments = {key.split(":", 1)[0]: value for key, value in state.items() if key.endswith(":" + name)}
        optimizer.state[parameter] = {
            key: value.to(parameter.device) if key != "step" else value for key, value in moments.items()
        }
    return step


def _step(path: Path) -> int:
    with safe_open(path, "pt") as file:
        return int(file.metadata()["step"])


def _trained(objective: Any) -> list[tuple[str, Any]]:
    return [(name, p) for name, p in objective.named_parameters() if p.requires_grad]


class Log:
    """Figures of a run: JSON lines in a file, and a short line for the reader."""

    def __init__(self, path: Path, active: bool) -> None:
        self.path = path
        self.active = active

    def write(self, step: int, figures: Mapping[str, float], tell: Callable[[str], None]) -> None:
        """Log figures measured on held-out rows."""
        self._line({"step": step, "heldout": dict(figures)})
        if self.active:
            tell("held out: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))

    def step(
        self,
        step: int,
        steps: int,
        loss: float,
        figures: Mapping[str, float],
        left: float,
        tell: Callable[[str], None],
    ) -> None:
        """Log one step of training; `left` in seconds."""
        self._line({"step": step, "loss": loss, **figures})
        if self.active:
            parts = " ".join(f"{name} {value:.3g}" for name, value in figures.items())
            tell(f"step {step}/{steps} loss {loss:.3f} {parts}, about {left / 60:.0f} min left")

    def _line(self, told: Mapping[str, Any]) -> None:
        if self.active:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(told) + "\n")
