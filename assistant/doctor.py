"""What is installed, where things are, whether they are sound, and what uses the network. No text of a chat is told."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from assistant.engine.prompt_cache import prompts_dir
from assistant.paths import config_file, data_dir, database, log_file, models_dir
from convert.errors import TakebackError
from convert.untrusted import clean_line


@dataclass(frozen=True)
class Fact:
    """One thing that was looked at; `remedy` says what to do where it is broken, and is None where it is not."""

    part: str
    name: str
    value: str
    remedy: str | None = None


Facts = Iterator[tuple[str, str, str | None]]
"""Name, value and remedy of each fact of a part."""


def examine() -> Iterator[Fact]:
    """Look at everything, one fact after the other. Nothing is changed, and no part of it raises TakebackError."""
    parts: tuple[tuple[str, Callable[[], Facts]], ...] = (
        ("versions", _versions),
        ("machine", _machine),
        ("places", _places),
        ("models", _models),
        ("terminal", lambda: terminal(os.environ, sys.stdout.isatty(), sys.stdout.encoding)),
        ("network", _network),
    )
    for part, facts in parts:
        for name, value, remedy in facts():
            yield Fact(
                part, clean_line(name), clean_line(value), None if remedy is None else clean_line(remedy)
            )


def _versions() -> Facts:
    yield "takeback", _version("takeback") or "not installed, run from its folder", None
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}", None
    yield "sqlite", sqlite3.sqlite_version, None
    for package in ("textual", "huggingface-hub", "llama-cpp-python"):
        found = _version(package)
        yield package, found or "not installed", None if found else f"pip install {package}"
    if _version("llama-cpp-python"):
        from assistant.engine.build import features  # noqa: PLC0415 (only here)

        try:
            built_for, gpu = features()
            yield (
                "its build",
                f"{built_for or 'nothing special'}; graphics card: {'yes' if gpu else 'no'}",
                None,
            )
        except TakebackError as error:
            compile_it = (
                "compile it on this machine: pip install --force-reinstall --no-cache-dir llama-cpp-python"
            )
            yield "its build", str(error), compile_it


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _machine() -> Facts:
    from assistant.engine.threads import physical_cores  # noqa: PLC0415 (only here)

    cores = physical_cores()
    yield "threads", f"{cores} where none are set, one for each core that may be used", None
    yield "processors", str(os.cpu_count() or "not known"), None
    yield "memory", memory(Path("/proc/meminfo")), None


def memory(meminfo: Path) -> str:
    """How much memory there is, and, where the system tells, how much of it is free."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        total, free = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, KeyError, IndexError):
        try:
            return _size(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        except (AttributeError, ValueError, OSError):
            return "not known"
    return f"{_size(total)}, {_size(free)} free"


def _places() -> Facts:
    folder = data_dir()
    there = next(parent for parent in (folder, *folder.parents) if _is_there(parent))
    usable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    remedy = "it cannot be written to; check its rights, or set TAKEBACK_HOME to another folder"
    size = f"{_size(_bytes_in(folder))}, {_size(shutil.disk_usage(there).free)} free on its disk"
    yield (
        "data",
        f"{_short(folder)} ({size if _is_there(folder) else 'none yet'})",
        None if usable else remedy,
    )
    yield "chats", *_store(database())
    kept = prompts_dir()
    yield "read", f"{_short(kept)} ({_size(_bytes_in(kept)) if _is_there(kept) else 'none yet'})", None
    yield "settings", *_settings()
    log = log_file()
    size = _size(log.stat().st_size) if _is_there(log) else "none yet"
    yield "log", f"{_short(log)} ({size}; of the chat's own work, without a word of any chat)", None


def _store(path: Path) -> tuple[str, str | None]:
    """The database: its place and size, and what is wrong with it."""
    from assistant.conversation.schema import BUSY_SECONDS, VERSION, explained  # noqa: PLC0415 (only here)

    try:
        if not path.exists():
            return f"{_short(path)} (none yet)", None
        size = sum(part.stat().st_size for part in path.parent.glob(f"{path.name}*"))
        shown = f"{_short(path)} ({_size(size)})"
        address = f"{path.as_uri()}?mode=rw"  # a reader that may not write leaves a log behind
        with explained(path), closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as store:
            found = store.execute("PRAGMA quick_check(1)").fetchone()[0]
            version = store.execute("PRAGMA user_version").fetchone()[0]
    except TakebackError as error:
        return f"{_short(path)}: cannot be used", str(error)
    except OSError as error:
        return f"{_short(path)}: cannot be used", f"{error.strerror or error}; check the rights of the folder"
    if found != "ok":  # what SQLite says of it may quote what is in it
        return (
            f"{shown}: damaged",
            "move it away to begin anew, and keep it: parts may be saved with sqlite3's .recover",
        )
    if version > VERSION:
        return f"{shown}: of a newer takeback", "upgrade (pip install -U takeback), or set TAKEBACK_HOME"
    return f"{shown}: sound", None


def _settings() -> tuple[str, str | None]:
    from assistant.settings import load_settings  # noqa: PLC0415 (only here)

    shown = f"{_short(config_file())} ({'read' if _is_there(config_file()) else 'none'})"
    try:
        load_settings()
    except TakebackError as error:
        return shown, str(error)
    return shown, None


def _models() -> Facts:
    from assistant.models.library import models, resolve  # noqa: PLC0415 (only here)
    from assistant.models.pull import fetching_dir  # noqa: PLC0415
    from convert.gguf_header import read_header  # noqa: PLC0415

    yield "default", *_default_model()
    chosen, remedy = _chosen_model()
    if chosen:
        try:
            read_header(resolve(chosen))
        except TakebackError as error:
            remedy = str(error)
        yield "chosen", _short(Path(chosen).expanduser()), remedy
    try:
        added = models()
    except TakebackError as error:
        yield "added", _short(models_dir()), str(error)
        return
    yield "added", f"{_short(models_dir())} ({len(added)}, {_size(sum(m.size for m in added))})", None
    for model in added:
        try:
            read_header(model.path)
        except TakebackError as error:
            yield model.name, str(error), f"remove it with: takeback models remove {model.name}"
    parts = _bytes_in(fetching_dir())
    if parts:
        yield (
            "fetched in part",
            f"{_short(fetching_dir())} ({_size(parts)}); pull it again, or delete the folder",
            None,
        )


def _chosen_model() -> tuple[str | None, str | None]:
    """The model that the settings name, if any; settings that cannot be read are another fact's."""
    from assistant.models.library import DEFAULT  # noqa: PLC0415 (only here)
    from assistant.settings import load_settings  # noqa: PLC0415

    try:
        chosen = load_settings().model
    except TakebackError:
        return None, None
    return (None if chosen == DEFAULT else chosen), None


def _default_model() -> tuple[str, str | None]:
    from assistant.models.bundled import default_file  # noqa: PLC0415 (only here)
    from convert.gguf_header import read_header  # noqa: PLC0415
    from convert.reset_token import read_contract  # noqa: PLC0415

    try:
        file = default_file()
    except TakebackError as error:
        return "cannot be built", str(error)
    if not _is_there(file):
        return "not built yet; it is on first use", None
    try:
        contract, note = read_contract(read_header(file))
        if contract is None:
            raise TakebackError(note or "it has no reset token")
    except TakebackError as error:
        return f"damaged: {error}", f"delete {file}; it is built again on next use"
    return f"built, {_short(file)} ({_size(_bytes_in(file.parent))})", None


def terminal(environment: Mapping[str, str], is_terminal: bool, encoding: str) -> Facts:
    """What the chat will find of the terminal; a fact that keeps it from running is none of a broken install."""
    kind = environment.get("TERM", "")
    yield "kind", f"{kind or 'not said'}{'' if is_terminal else ', but the output goes elsewhere'}", None
    size = shutil.get_terminal_size()
    yield "size", f"{size.columns} × {size.lines}", None
    yield "colours", colours(environment), None
    yield "NO_COLOR", "set" if environment.get("NO_COLOR") else "not set", None
    yield "encoding", encoding, None


def colours(environment: Mapping[str, str]) -> str:
    """How many colours a terminal says that it has."""
    kind = environment.get("TERM", "")
    if environment.get("NO_COLOR"):
        return "none"
    if environment.get("COLORTERM") in ("truecolor", "24bit"):
        return "16 million"
    if kind in ("", "dumb"):
        return "none"
    return "256" if "256" in kind else "16"


def _network() -> Facts:
    yield "models pull", "fetches the repository's file that you name; in the chat: /model, then F3", None
    yield "convert, verify", "fetch a source written ORG/NAME, and nothing with --offline", None
    yield "train data", "fetches a file written hub:org/name/file", None
    yield "serve", "listens, on this machine alone if not told otherwise, and calls nobody", None
    yield "all else", "uses no network", None


def _is_there(path: Path) -> bool:
    """Whether a path can be seen; `Path.exists` raises where a folder above it may not be entered."""
    return os.access(path, os.F_OK)


def _bytes_in(folder: Path) -> int:
    """The size of all files in a folder, 0 where there is none or it cannot be read."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).lstat().st_size
            except OSError:  # gone meanwhile
                continue
    return total


def _size(nbytes: float) -> str:
    units = ("bytes", "kB", "MB", "GB", "TB")
    step = 0
    while nbytes >= 1000 and step < len(units) - 1:
        nbytes, step = nbytes / 1000, step + 1
    return f"{nbytes:,.1f} {units[step]}" if step and nbytes < 10 else f"{nbytes:,.0f} {units[step]}"


def _short(path: Path) -> str:
    """A path without the user's name, which may be shown to others in a report."""
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except (ValueError, RuntimeError):
        return str(path)
