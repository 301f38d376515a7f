"""Measuring in a process of its own: for its peak of memory, or for a library that must not meet ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from convert.errors import TakebackError

_ROOT = Path(__file__).parents[2]


def in_own_process(what: str, module: str, *words: str, given: str | None = None) -> Any:  # noqa: ANN401 (JSON)
    """What a module of ours prints last, as JSON; `given` is its standard input.

    Raises:
        TakebackError: it failed; says that `what` did, and its last line of error.
    """
    command = [sys.executable, "-m", module, *words]
    environment = os.environ | {"PYTHONPATH": str(_ROOT)}
    done = subprocess.run(command, input=given, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TakebackError(f"{what} failed: {done.stderr.strip().rpartition(chr(10))[2][:200]}")
    return json.loads(done.stdout.strip().rpartition("\n")[2])
