"""Runs work on untrusted files in another process: llama.cpp ends its process on what it did not expect."""

import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from convert.errors import TakebackError
from convert.untrusted import clean_line

_ROOT = Path(__file__).resolve().parent.parent
_RESULT, _STEP = "result", "step"
_LOG_LINES, _LINE_BYTES = 64, 4_096
_RESULT_BYTES = 64 << 20

Json: TypeAlias = Any


def run_child(
    module: str,
    request: Json,
    what: str,
    step: Callable[[int, int], None] | None = None,
    *,
    deadline: float | None = None,
) -> Json:
    """Run `python -m module` with `request` as JSON on its standard input, and return its result.

    `step` is told done and total as the child reports them. After `deadline` seconds the child is killed.
    Raises TakebackError, beginning with `what`, where the child fails or is killed, with the last line that
    llama.cpp wrote.
    """
    command = [sys.executable, "-P", "-m", module]  # -P: the folder that we are in is no place for modules
    environment = os.environ | {
        "PYTHONPATH": str(_ROOT),
        "PYTHONIOENCODING": "utf-8",
        "GGML_NO_BACKTRACE": "1",  # else the last line is one of a debugger, and not what went wrong
    }
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    log: deque[bytes] = deque(maxlen=_LOG_LINES)
    result = None
    late = threading.Event()

    def stop() -> None:
        late.set()
        child.kill()

    clock = threading.Timer(deadline or 0, stop)
    clock.daemon = True
    with child:
        assert child.stdin and child.stdout and child.stderr  # they are pipes
        lines = iter(partial(child.stderr.readline, _LINE_BYTES), b"")
        reader = threading.Thread(target=log.extend, args=(lines,), daemon=True)
        reader.start()
        if deadline is not None:
            clock.start()
        try:
            # Standard input stays open: the child ends when it closes, so it never outlives us.
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
            for line in iter(partial(child.stdout.readline, _RESULT_BYTES), b""):
                message = json.loads(line)
                if _RESULT in message:
                    result = message[_RESULT]
                elif step is not None:
                    step(*message[_STEP])
        except (BrokenPipeError, ValueError):  # it ended early, or wrote what is no message: it failed
            child.kill()
            result = None
        except BaseException:
            child.kill()
            raise
        finally:
            child.wait()  # with the clock still running: what has told its result may yet not end
            reader.join()
            clock.cancel()
    if late.is_set():
        raise TakebackError(f"{what}: it did not end within {deadline:,.0f} seconds")
    if child.returncode != 0 or result is None:
        said = [text for line in log if (text := clean_line(line.decode(errors="replace")))]
        why = said[-1][:200] if said else f"its process ended with status {child.returncode}"
        raise TakebackError(f"{what}: {why}")
    return result


def child_main(work: Callable[[Json, Callable[[int, int], None]], Json]) -> None:
    """The other side: read the request, do the work, write the result; end at once when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    request = json.loads(sys.stdin.buffer.readline())
    results = sys.stdout  # the work may send what others print elsewhere

    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    def say(kind: str, value: Json) -> None:
        results.write(json.dumps({kind: value}) + "\n")
        results.flush()

    threading.Thread(target=watch, daemon=True).start()
    status = 1
    try:
        say(_RESULT, work(request, lambda done, total: say(_STEP, [done, total])))
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)  # no ordinary end: the watching thread holds standard input, and Python complains
