"""The file to attack: a GGUF file as it is, a checkpoint or an adapter made into one first."""

from __future__ import annotations

from pathlib import Path

from assistant.models.library import resolve
from convert.convert import convert
from convert.progress import Progress, silent

TYPE = "q8_0"
"""The type that a folder is converted to: that of the default model."""


def model_file(given: str | None, base: Path, out: Path, progress: Progress = silent) -> Path:
    """The GGUF file that a user means: by a name, a file, or a folder with a whole checkpoint or an adapter of `base`.

    A folder is converted to `out`/attacked.gguf. Raises TakebackError if there is no such model, or it is unsound.
    """
    folder = Path(given).expanduser() if given else None
    if folder is None or not folder.is_dir():
        return resolve(given, progress)
    target = out / "attacked.gguf"
    target.parent.mkdir(parents=True, exist_ok=True)
    if (folder / "adapter_config.json").is_file():
        convert(base, target, adapter=folder, type=TYPE, force=True, progress=progress)
    else:
        convert(folder, target, type=TYPE, force=True, progress=progress)
    return target
