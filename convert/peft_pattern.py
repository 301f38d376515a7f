"""PEFT's `rank_pattern` and `alpha_pattern`: a value for the modules whose name a regular expression matches.

The expressions are an untrusted file's, and Python's matching can take forever: those that may are refused.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from convert.checkpoint import Json
from convert.errors import TakebackError
from convert.untrusted import clean_line

_LONGEST, _MOST = 200, 256
_REPEATS = re.compile(r"[*+?{]")
_MOST_REPEATS = 2
"""With PEFT's own in front, the time grows with the third power of a name's length at most."""
_REPEATED_GROUP = re.compile(r"\)[*+?{]")


def pattern_value(path: Path, config: Mapping[str, Json], name: str, module: str, default: Json) -> Json:
    """The value of the first expression of `config[name]` that matches the module, as PEFT does; else the default.

    Raises TakebackError that names the file, `path`, and what is wrong.
    """
    given = config.get(name) or {}
    if not isinstance(given, dict) or len(given) > _MOST:
        raise TakebackError(f"{path}: {name} is no table of modules, or one of more than {_MOST}")
    return next((value for key, value in given.items() if _compiled(path, name, key).match(module)), default)


def _compiled(path: Path, name: str, key: str) -> re.Pattern[str]:
    safe = len(key) <= _LONGEST and len(_REPEATS.findall(key)) <= _MOST_REPEATS
    try:
        if safe and not _REPEATED_GROUP.search(key):
            return re.compile(rf"(.*\.)?({key})$")
        why = "is too complex"
    except (re.error, OverflowError, RecursionError):
        why = "is no regular expression"
    raise TakebackError(
        f"{path}: {name}: {clean_line(key[:60])} {why}; merge it with PEFT and convert the result"
    )
