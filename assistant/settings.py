"""The user's settings: flags > environment > config file > the defaults of whoever uses them.

Each has one name in all three: `max_resets` is `--max-resets`, `TAKEBACK_MAX_RESETS`, and `max_resets = 4` in
the config file. What is said of it here is what the file is checked by, what `--help` says, and what the screens
of the chat are made of.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from assistant.described import About, Setting, described
from convert.errors import TakebackError

ENVIRONMENT_PREFIX = "TAKEBACK_"
MODEL, WRITING, TAKING_BACK, SCREEN = "Model", "Writing", "Taking back", "Screen"
KEYS = "keys"
"""The config file's table of the chat's keys; what is in it is the chat's business."""

Theme = Literal[
    "dark", "light", "terminal-dark", "terminal-light", "nord", "gruvbox", "dracula", "tokyo-night", "monokai",
    "catppuccin-mocha", "catppuccin-latte", "solarized-dark", "solarized-light", "rose-pine", "rose-pine-dawn",
]  # fmt: skip
"""The chat's colours: two of its own, the terminal's own for dark and for light ones, and some well-known ones."""


class Settings(NamedTuple):
    """What the user has set; None is what was left to the model or the program."""

    model: Annotated[
        str | None,
        About(
            "a GGUF file, or a name that takeback models lists",
            metavar="M",
            group=MODEL,
            begins="start",
            unset="the built-in one",
        ),
    ] = None
    ctx: Annotated[
        int | None, About("the context's length in tokens", 16, 1 << 24, 4096, group=MODEL, begins="start")
    ] = None
    threads: Annotated[
        int | None, About("threads", 1, 1024, group=MODEL, begins="start", unset="the physical cores")
    ] = None
    gpu_layers: Annotated[
        int | None,
        About("layers to put on a GPU; -1: all", -1, 1 << 16, 0, group=MODEL, begins="start"),
    ] = None
    prompt_cache: Annotated[
        int | None,
        About(
            "MiB of the disk for what was read of chats, so that a long one opens at once; 0: nothing is kept",
            0,
            1 << 20,
            512,
            "MIB",
            group=MODEL,
            begins="start",
        ),
    ] = None
    reset_token: Annotated[
        str | None,
        About(
            "the reset token's text, if the file does not say it", metavar="T", group=MODEL, begins="start"
        ),
    ] = None
    system: Annotated[
        str | None, About("the system message", metavar="S", group=WRITING, begins="chat", lines=True)
    ] = None
    temperature: Annotated[
        float | None, About("0 takes the likeliest token", 0, 100, 0.7, metavar="T", group=WRITING)
    ] = None
    top_p: Annotated[
        float | None,
        About("only the likeliest tokens that together have this chance", 0, 1, 0.9, "P", group=WRITING),
    ] = None
    top_k: Annotated[
        int | None, About("only so many of the likeliest tokens; 0: all", 0, 1 << 24, 40, group=WRITING)
    ] = None
    min_p: Annotated[
        float | None,
        About("only tokens with this part of the likeliest one's chance", 0, 1, 0.05, "P", group=WRITING),
    ] = None
    repeat_penalty: Annotated[
        float | None, About("lowers what was just said; 1 is none", 1, 10, 1.1, "R", group=WRITING)
    ] = None
    dry: Annotated[
        float | None,
        About("lowers what would repeat a run of words; 0.8 is usual", 0, 10, 0, "D", group=WRITING),
    ] = None
    xtc: Annotated[
        float | None,
        About("the chance that the likeliest tokens are left out", 0, 1, 0, "X", group=WRITING),
    ] = None
    mirostat: Annotated[
        float | None,
        About(
            "aim at so many bits of surprise a token, in place of top-k, top-p and min-p; 0 is off",
            0,
            20,
            0,
            "BITS",
            group=WRITING,
        ),
    ] = None
    seed: Annotated[
        int | None,
        About(
            "the same seed gives the same reply", 0, (1 << 32) - 1, group=WRITING, unset="another each time"
        ),
    ] = None
    max_tokens: Annotated[
        int | None, About("the reply's longest length", 1, 1 << 24, group=WRITING, unset="what fits")
    ] = None
    after_reset: Annotated[
        Literal["rewind", "keep", "off"] | None,
        About(
            "what the model sees after a reset: not its draft (rewind), or also its draft (keep); off: it never "
            "takes back",
            group=TAKING_BACK,
            unset="as it was trained",
        ),
    ] = None
    reset_bias: Annotated[
        float | None,
        About(
            "added to the reset token's logit",
            -30,
            30,
            None,
            "B",
            TAKING_BACK,
            unset="as calibrated",
        ),
    ] = None
    max_resets: Annotated[int | None, About("one more ends the reply", 0, 1000, 4, group=TAKING_BACK)] = None
    hold_back: Annotated[
        int | None,
        About(
            "tokens by which the output lags behind",
            0,
            1024,
            group=TAKING_BACK,
            unset="as calibrated",
        ),
    ] = None
    theme: Annotated[
        Theme | None,
        About(
            "the chat's colours; terminal-dark and terminal-light are the terminal's own",
            group=SCREEN,
            unset="dark",
        ),
    ] = None
    plain: Annotated[
        bool | None, About("words for events, nothing is redrawn", group=SCREEN, begins="start")
    ] = None


SETTINGS: Mapping[str, Setting] = described(Settings)
"""By name, in the order in which they are shown."""


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
    values = read_config(config)
    for name, setting in SETTINGS.items():
        if text := environment.get(variable(name)):
            values[name] = setting.read(text, variable(name))
        if flags and flags.get(name) is not None:
            values[name] = flags[name]
    return Settings(**values)


def variable(name: str) -> str:
    """The variable of the environment that holds a setting."""
    return ENVIRONMENT_PREFIX + name.upper()


def config_path() -> Path:
    """Where the user's config file is, or would be."""
    from assistant.paths import config_file  # noqa: PLC0415 (platformdirs, needed by no other part of settings)

    return config_file()


def read_config(config: Path | None = None) -> dict[str, Any]:
    """What the config file sets, checked. Raises TakebackError that names the file, and the key if it is one."""
    path = config or config_path()
    try:
        values = parse_config(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise TakebackError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TakebackError(f"{path}: not valid TOML: {error}") from error
    return {
        name: SETTINGS[name].read(value, f"{path}: {name}") for name, value in values.items() if name != KEYS
    }


def read_keys(config: Path | None = None) -> dict[str, Any]:
    """The config file's table of keys as it stands there; empty where there is none.

    Raises TakebackError where the file is no config file.
    """
    path = config or config_path()
    try:
        return dict(parse_config(path.read_text(encoding="utf-8"), path).get(KEYS, {}))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise TakebackError(f"{path}: cannot be read: {error}") from error


def parse_config(text: str, path: Path) -> dict[str, Any]:
    """The names in a config file's text, all of them known, with values as TOML has them.

    Raises TakebackError that begins with the file's `path`.
    """
    import tomllib  # noqa: PLC0415 (slow, and --help needs none of it)

    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TakebackError(f"{path}: not valid TOML: {error}") from error
    if not isinstance(values.get(KEYS, {}), dict):
        raise TakebackError(f"{path}: {KEYS} must be a table, which begins with the line [{KEYS}]")
    unknown = sorted(set(values) - {*SETTINGS, KEYS})
    if unknown:
        raise TakebackError(f"{path}: no such setting: {unknown[0]}; there is {', '.join(SETTINGS)}")
    return values
