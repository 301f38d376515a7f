"""Where Takeback keeps its things: the platform's usual folders, or everything under `TAKEBACK_HOME`."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

APP = "takeback"


def _home() -> Path | None:
    """The folder of `TAKEBACK_HOME`, or None where the platform's own folders are used."""
    home = os.environ.get("TAKEBACK_HOME")
    return Path(home).expanduser().absolute() if home else None


def data_dir() -> Path:
    """The folder of chats and models. It may not exist yet."""
    return _home() or Path(platformdirs.user_data_dir(APP, appauthor=False))


def config_file() -> Path:
    """The TOML file with the user's settings. It may not exist."""
    return (_home() or Path(platformdirs.user_config_dir(APP, appauthor=False))) / "config.toml"


def cache_dir() -> Path:
    """The folder of what can be made again. It may not exist yet."""
    return (_home() or Path(platformdirs.user_cache_dir(APP, appauthor=False))) / "cache"


def database() -> Path:
    """The SQLite file of all chats. It may not exist yet."""
    return data_dir() / "history.db"


def log_file() -> Path:
    """What the chat has noted down of its own work, and no text of a chat. It may not exist yet."""
    return data_dir() / "takeback.log"


def models_dir() -> Path:
    """The folder of GGUF files that `takeback models` lists. It may not exist yet."""
    return data_dir() / "models"
