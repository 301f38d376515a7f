"""Tries a file in another process first: llama.cpp ends its process on what it did not expect of one.

The child loads the file, decodes one token and renders its template, with limits on memory, processor time
and wall time. A file that came through is known again by its size, time and header, and not tried twice.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from assistant.paths import data_dir
from convert.children import Json, child_main, run_child
from convert.errors import TakebackError
from convert.gguf_header import GGUFHeader
from convert.progress import Progress

_OWN = "default-model"
"""The folder of the one model that is built here, of known parts."""
_MEMORY = 4 << 30
"""Address space in bytes beside twice the file, which llama.cpp maps and may copy for faster kernels."""
_SECONDS, _BYTES_A_SECOND = 60, 20 << 20
"""The least time for a file, and how fast the slowest disk reads it."""
_SINGLE = {
    **dict.fromkeys(("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"), ""),  # they map more than any limit
    "OPENBLAS_NUM_THREADS": "1",
}


def probe(path: Path, header: GGUFHeader, progress: Progress | None = None) -> None:
    """Raise TakebackError unless the file has come through its trial, now or before."""
    if path.resolve().parent == (data_dir() / _OWN).resolve():
        return
    stat = path.stat()
    from llama_cpp import __version__  # noqa: PLC0415 (the child must set its limits before this is loaded)

    name = f"{stat.st_size}-{stat.st_mtime_ns}-{header.header_sha256}-{__version__}"
    known = data_dir() / "probed" / name
    if known.exists():
        return
    seconds = _SECONDS + stat.st_size // _BYTES_A_SECOND
    request = {"path": str(path), "memory": _MEMORY + 2 * stat.st_size, "seconds": seconds}

    def step(done: int, total: int) -> None:
        if progress:
            progress("checking the model", done, total)

    what = f"{path}: llama.cpp cannot run it"
    answer = run_child("assistant.engine.probe", request, what, step, deadline=2 * seconds)
    if answer["error"]:
        raise TakebackError(answer["error"])
    with suppress(OSError):  # then it is tried again the next time
        known.parent.mkdir(parents=True, exist_ok=True)
        known.touch()


def _work(request: Json, step: Callable[[int, int], None]) -> Json:
    limit(request["memory"], request["seconds"])
    os.environ.update(_SINGLE)
    # Only now what is large, and what reads the file.
    from assistant.engine.libllama import Context, Model  # noqa: PLC0415
    from assistant.engine.message import Message  # noqa: PLC0415
    from assistant.engine.prompt import PromptTemplate  # noqa: PLC0415
    from assistant.engine.vocabulary import Vocabulary  # noqa: PLC0415

    try:
        model = Model(Path(request["path"]), progress=lambda _, done, total: step(done, total))
        if model.n_vocab:  # without, the parent has words for it
            vocabulary = Vocabulary(model)
            Context(model, n_ctx=64, threads=1, chunk=32).decode([vocabulary.bos or 0])
            PromptTemplate(model.template, vocabulary, "").ids([Message("user", "Hello")])
    except TakebackError as error:
        return {"error": str(error)}
    return {"error": None}


def limit(memory: int, seconds: int) -> None:
    """Bound this process: bytes of address space, seconds of processor time.

    Where a system knows no such limit, the parent's deadline has to do.
    """
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 (Windows has none)

    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_CPU: seconds}
    if sys.platform == "linux":  # elsewhere it is not kept, or refused
        limits[resource.RLIMIT_AS] = memory
    for kind, wanted in limits.items():
        _, hardest = resource.getrlimit(kind)
        bound = wanted if hardest == resource.RLIM_INFINITY else min(wanted, hardest)
        resource.setrlimit(kind, (bound, bound))


if __name__ == "__main__":
    child_main(_work)
