"""What a run keeps on disk: whose folder it is, its state as safetensors (never pickle), and its log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import safe_open

from convert.errors import TakebackError, UsageError
from convert.whole_file import write_text
from train.stopping import Looks
from train.whole_tensors import read_tensors, write_tensors

STATE, BEST = "state.safetensors", "best.safetensors"


def keep_apart(out: Path, *given: Path | None) -> None:
    """Raise UsageError where a run would write its result over a folder that it starts from."""
    if any(path and path.resolve() == out.resolve() for path in given):
        raise UsageError(f"--out {out} is what the run starts from: name another folder")


def claim(out: Path, fingerprint: str) -> None:
    """Mark the folder as this run's. Raises TakebackError where another run's settings or data are in it."""
    mark, path = hashlib.sha256(fingerprint.encode()).hexdigest(), out / "run.json"
    try:
        held = json.loads(path.read_text("utf-8")).get("sha256") if path.exists() else mark
        out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError, AttributeError) as error:
        raise TakebackError(f"{out} cannot be the folder of a run: {error}; name another --out") from error
    if held != mark:
        raise TakebackError(
            f"{out} holds a run with other settings or data: name another --out, or delete it"
        )
    write_text(path, json.dumps({"sha256": mark, "settings": fingerprint}))


def begun(out: Path) -> bool:
    """Whether the folder holds a checkpoint to go on from."""
    return (out / STATE).exists()


def save(out: Path, step: int, objective: Any, optimizer: Any, looks: Looks | None = None) -> None:
    """Write the trained parameters, Adam's moments and what the looks showed, whole or not at all."""
    state = {}
    for name, parameter in _trained(objective):
        state[name] = parameter.detach().cpu()
        for key, value in optimizer.state.get(parameter, {}).items():
            state[f"{key}:{name}"] = value.detach().cpu().clone()
    write_tensors(out / STATE, state, {"step": str(step), "looks": json.dumps(asdict(looks or Looks()))})


def resume(out: Path, objective: Any, optimizer: Any) -> int:
    """Put a saved state back; returns the number of steps done, 0 where nothing was saved."""
    if not begun(out):
        return 0
    path = out / STATE
    state = read_tensors(path)
    _put_back(path, objective, state)
    for name, parameter in _trained(objective):
        moments = {key.split(":", 1)[0]: value for key, value in state.items() if key.endswith(":" + name)}
        optimizer.state[parameter] = {
            key: value.to(parameter.device) if key != "step" else value for key, value in moments.items()
        }
    return int(_metadata(path)["step"])


def looks_of(out: Path) -> Looks:
    """What the looks had shown when the state was saved."""
    return Looks(**json.loads(_metadata(out / STATE).get("looks", "{}"))) if begun(out) else Looks()


def save_best(out: Path, objective: Any) -> None:
    """Keep the trained parameters of the best look."""
    write_tensors(out / BEST, {name: parameter.detach().cpu() for name, parameter in _trained(objective)})


def restore_best(out: Path, objective: Any) -> None:
    """Put the parameters of the best look back."""
    _put_back(out / BEST, objective, read_tensors(out / BEST))


def _put_back(path: Path, objective: Any, state: Mapping[str, Any]) -> None:
    for name, parameter in _trained(objective):
        if name not in state or state[name].shape != parameter.shape:
            raise TakebackError(f"{path} is of another model or another version: delete it to begin again")
        parameter.data.copy_(state[name])


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata())


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
        if not self.active:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(told) + "\n")
        except OSError as error:
            raise TakebackError(f"{self.path}: cannot be written: {error.strerror or error}") from error
