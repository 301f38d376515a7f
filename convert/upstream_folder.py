"""The folder that the upstream converter is shown: links to weights that were checked, and copies of the rest.

It asks transformers for the tokenizer with leave to run the checkpoint's code. So what it is shown holds none,
and names none: no Python file, no pickle, no `auto_map`.
"""

import json
import os
import shutil
from pathlib import Path

from convert.checkpoint import Checkpoint, Json, read_json
from convert.errors import TakebackError

_CONFIG, _INDEX, _SINGLE = "config.json", "model.safetensors.index.json", "model.safetensors"
_SETTINGS = ("generation_config.json", "tokenizer_config.json")
_TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("tokenizer.model", "vocab.json", "merges.txt"),
)
_CODE = ("auto_map", "custom_pipelines")
_MAX_BYTES = 256 << 20


def write_folder(
    folder: Path, source: Checkpoint, adapter: Path | None, *, rows: int | None, weights: Path | None
) -> None:
    """Fill an empty folder with all that the converter needs of a checkpoint.

    `weights` is the file that stands in the place of the source's, with an adapter merged in, and `rows` how many
    rows its embedding has; None: as the source has them. An adapter may bring its own tokenizer.
    """
    config = _without_code(dict(source.config))
    if rows is not None and config.get("vocab_size") != rows:
        if type(config.get("vocab_size")) is not int:
            raise TakebackError(f"{source.path / _CONFIG}: says no vocab_size, which the new token changes")
        config["vocab_size"] = rows
    (folder / _CONFIG).write_text(json.dumps(config), encoding="utf-8")
    own = adapter is not None and (adapter / "tokenizer.json").exists()
    tokenizer = adapter if own and adapter is not None else source.path
    for name in _TOKENIZER:
        _copy(tokenizer / name, folder / name)
    _copy(source.path / "generation_config.json", folder / "generation_config.json")
    for place in (tokenizer, source.path):
        if not (folder / "chat_template.jinja").exists():
            _copy(place / "chat_template.jinja", folder / "chat_template.jinja")
    if weights is not None:
        _link(weights, folder / _SINGLE)
        return
    if (source.path / _INDEX).exists():
        _copy(source.path / _INDEX, folder / _INDEX)
    for file in sorted({str(tensor.file.name) for tensor in source.tensors.values()}):
        _link(Path(file), folder / Path(file).name)


def _without_code(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _without_code(inner) for key, inner in value.items() if key not in _CODE}
    return [_without_code(inner) for inner in value] if isinstance(value, list) else value


def _copy(source: Path, to: Path) -> None:
    """Copy a file where there is one; settings without what names code."""
    try:
        if not source.exists():
            return
        if source.name in _SETTINGS:
            to.write_text(json.dumps(_without_code(read_json(source))), encoding="utf-8")
            return
        if source.stat().st_size > _MAX_BYTES:
            raise TakebackError(f"{source}: larger than {_MAX_BYTES >> 20} MiB")
        shutil.copyfile(source, to)
    except OSError as error:
        raise TakebackError(f"{source}: cannot be read: {error.strerror or error}") from error


def _link(source: Path, to: Path) -> None:
    """A symbolic link, or where the system gives none to everybody, a hard one."""
    try:
        to.symlink_to(source.resolve())
    except OSError:
        try:
            os.link(source.resolve(), to)
        except OSError as error:
            raise TakebackError(
                f"{to}: the weights cannot be linked there: {error.strerror or error}"
            ) from error
