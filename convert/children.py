"""Runs work on untrusted files in another process: llama.cpp ends its process on what it did not expect."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from convert.errors import TakebackError
from convert.untrusted import clean_line

_ROOT = Path(__file__).resolve().parent.parent
_RESULT, _STEP = "result", "step"

Json: TypeAlias = Any


def run_child(module: str, request: Json, what: str, step: Callable[[int, int], None] | None = None) -> Json:
    """Run `python -m module` with `request` as JSON on its standard input, and return its result.

    `step` is told done and total as the child reports them. Raises TakebackError, beginning with `what`,
    where the child fails or is killed, with the last line that llama.cpp wrote.
    """
    command = [sys.executable, "-P", "-m", module]  # -P: the folder that we are in is no place for modules
    environment = os.environ | {"PYTHONPATH": str(_ROOT), "PYTHONIOENCODING": "utf-8"}
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    log: list[bytes] = []
    result = None
    with child:
        assert child.stdin and child.stdout and child.stderr  # they are pipes
        reader = threading.Thread(target=log.extend, args=(child.stderr,), daemon=True)
        reader.start()
        try:
            # Standard input stays open: the child ends when it closes, so it never outlives us.
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
            for line in child.stdout:
                message = json.loads(line)
                if _RESULT in message:
                    result = message[_RESULT]
                elif step is not None:
                    step(*message[_STEP])
        except (BrokenPipeError, ValueError):  # it ended early, or wrote what is no message: it failed
            result = None
        except BaseException:
            child.kill()
            raise
        child.wait()
        reader.join()
    if child.returncode != 0 or result is None:
        lines = [text for line in log if (text := clean_line(line.decode(errors="replace")))]
        why = lines[-1][:200] if lines else f"its process ended with status {child.returncode}"
        raise TakebackError(f"{what}: {why}")
    return result


def child_main(work: Callable[[Json, Callable[[int, int], None]], Json]) -> None:
    """The other side: read the request, do the work, write the result; end at once when the parent does."""
    request = json.loads(sys.stdin.buffer.readline())

    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    def say(kind: str, value: Json) -> None:
        sys.stdout.write(json.dumps({kind: value}) + "\n")
        sys.stdout.flush()

    threading.Thread(target=watch, daemon=True).start()
    result = work(request, lambda done, total: say(_STEP, [done, total]))
    say(_RESULT, result)
    os._exit(0)  # the watching thread holds standard input
