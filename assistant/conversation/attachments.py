"""Text files that a message names with `@`: what they are, and the message with their text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from convert.errors import TakebackError

MOST_BYTES = 1 << 20

_MENTION = re.compile(r'(?:^|(?<=\s))@(?:"([^"\n]+)"|([^\s"]+))')

_BLOCK = re.compile(r"^File ([^\n]+):\n\n```", re.MULTILINE)


@dataclass(frozen=True)
class Mention:
    """A file that a message names; `size` in bytes, None where there is no such file."""

    name: str
    path: Path
    size: int | None


def mentions(text: str) -> list[Mention]:
    """What a message names, each once. It looks at files: not for the screen's thread.

    A name that is no file's counts where it looks like one; other words after `@` are just words. So are all
    in and after a file that is in the message already, as in one that was sent before and is now edited.
    """
    attached = [block[1] for block in _BLOCK.finditer(text)]
    words = _BLOCK.split(text, maxsplit=1)[0]
    found: dict[str, Mention] = {}
    for quoted, plain in _MENTION.findall(words):
        name = quoted or plain
        mention = _look(name)
        if mention.size is None and not quoted:
            shorter = _look(name.rstrip(".,;:!?)"))
            mention = shorter if shorter.size is not None else mention
        looks_like_one = "(" not in name and ("." in name.strip(".") or "/" in name)
        if mention.name not in attached and (mention.size is not None or looks_like_one):
            found[mention.name] = mention
    return list(found.values())


def with_files(text: str) -> str:
    """The message with the text of the files that it names below it.

    Raises:
        TakebackError: a file is too large, or no text.
    """
    files = [mention for mention in mentions(text) if mention.size is not None]
    return "\n\n".join([text, *(_block(file.name, _read(file)) for file in files)])


def size_in_words(size: int) -> str:
    """A size for people."""
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1e3:.1f} kB" if size < 1_000_000 else f"{size / 1e6:.1f} MB"


def _look(name: str) -> Mention:
    try:
        path = Path(name).expanduser()
        return Mention(name, path, path.stat().st_size if path.is_file() else None)
    except (OSError, ValueError, RuntimeError):  # RuntimeError: no such user in ~user
        return Mention(name, Path(name), None)


def _read(file: Mention) -> str:
    if file.size is None or file.size > MOST_BYTES:
        raise TakebackError(f"{file.name} is larger than {size_in_words(MOST_BYTES)}; name a smaller file")
    try:
        text = file.path.read_bytes().decode()
    except OSError as error:
        raise TakebackError(f"{file.name}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise TakebackError(f"{file.name} is no text file in UTF-8; only text can be attached")
    return text.replace("\r\n", "\n").rstrip("\n")


def _block(name: str, text: str) -> str:
    """The file as Markdown, in a fence that is longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * max(3, longest + 1)
    return f"File {name}:\n\n{fence}\n{text}\n{fence}"
