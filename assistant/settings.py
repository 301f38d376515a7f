"""The user's settings: flags > environment > config file > the defaults of whoever uses them.

Each has one name in all three: `max_resets` is `--max-resets`, `TAKEBACK_MAX_RESETS`, and `max_resets = 4` in
the config file.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from convert.errors import TakebackError

ENVIRONMENT_PREFIX = "TAKEBACK_"
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True)
class Settings:
    """What the user has set; None is what was left to the model or the program."""

    model: str | None = None
    reset_token: str | None = None
    system: str | None = None
    seed: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    dry: float | None = None
    xtc: float | None = None
    mirostat: float | None = None
    max_tokens: int | None = None
    after_reset: Literal["rewind", "keep", "off"] | None = None
    reset_bias: float | None = None
    max_resets: int | None = None
    hold_back: int | None = None
    ctx: int | None = None
    threads: int | None = None
    gpu_layers: int | None = None
    plain: bool | None = None


_FIELDS = {field.name: field.type for field in fields(Settings)}


def load_settings(
    flags: Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    config: Path | None = None,
) -> Settings:
    """Put the settings together. `flags` may hold more than settings, and None for flags not given.

    `config` defaults to the user's config file, which need not exist. Raises TakebackError that names the
    variable or the file's key that is wrong. Empty variables count as not set.
    """
    values: dict[str, Any] = {}
    for name, value in _read_config(config).items():
        values[name] = _convert(value, name, f"{config or _config_file()}: {name}")
    for name in _FIELDS:
        text = environment.get(ENVIRONMENT_PREFIX + name.upper())
        if text:
            values[name] = _convert(text, name, ENVIRONMENT_PREFIX + name.upper())
    for name in _FIELDS:
        if flags and flags.get(name) is not None:
            values[name] = flags[name]
    return Settings(**values)


def _config_file() -> Path:
    from assistant.paths import config_file  # noqa: PLC0415 (platformdirs, needed by no other part of settings)

    return config_file()


def _read_config(config: Path | None) -> dict[str, Any]:
    path = config or _config_file()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise TakebackError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TakebackError(f"{path}: not valid TOML: {error}") from error
    unknown = sorted(set(values) - set(_FIELDS))
    if unknown:
        raise TakebackError(f"{path}: no such setting: {unknown[0]}; there is {', '.join(_FIELDS)}")
    return values


def _convert(value: object, name: str, where: str) -> Any:  # noqa: ANN401 (one of the fields' types)
    """Turn a variable's text or a TOML value into the field's type."""
    kinds = get_args(_FIELDS[name])
    if bool in kinds:
        word = str(value).lower()
        if word not in _YES + _NO:
            raise TakebackError(f"{where} is {value!r}; it must be true or false")
        return word in _YES
    for kind in (int, float):
        if kind in kinds:
            try:
                if isinstance(value, bool):
                    raise ValueError
                return kind(str(value))
            except ValueError:
                what = "a whole number" if kind is int else "a number"
                raise TakebackError(f"{where} is {value!r}; it must be {what}") from None
    if not isinstance(value, str):
        raise TakebackError(f"{where} is {value!r}; it must be text")
    return value
