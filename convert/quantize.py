"""llama.cpp's quantizer, in a child process, with the reset token's rows protected."""

import ctypes
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from itertools import accumulate
from pathlib import Path

from convert.children import Json, child_main, run_child
from convert.errors import TakebackError
from convert.gguf_header import TYPE_NUMBERS, read_header
from convert.progress import Progress

FILE_TYPES: Mapping[str, int] = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q8_0": 7,
    "q5_0": 8,
    "q5_1": 9,
    "q2_k": 10,
    "q3_k_s": 11,
    "q3_k_m": 12,
    "q3_k_l": 13,
    "q4_k_s": 14,
    "q4_k_m": 15,
    "q5_k_s": 16,
    "q5_k_m": 17,
    "q6_k": 18,
    "iq2_xxs": 19,
    "iq2_xs": 20,
    "q2_k_s": 21,
    "iq3_xs": 22,
    "iq3_xxs": 23,
    "iq1_s": 24,
    "iq4_nl": 25,
    "iq3_s": 26,
    "iq3_m": 27,
    "iq2_s": 28,
    "iq2_m": 29,
    "iq4_xs": 30,
    "iq1_m": 31,
    "bf16": 32,
    "tq1_0": 36,
    "tq2_0": 37,
    "mxfp4_moe": 38,
    "q1_0": 40,
    "q2_0": 41,
}
"""llama.cpp's `llama_ftype` of each type of file that can be made."""

NEED_IMPORTANCE = frozenset(
    ("q2_k_s", "iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq2_m", "iq3_xxs", "iq3_xs")
)
"""The types that llama.cpp refuses to make without measured importances of the weights (`importance.py`)."""

PROTECTING = ("f32", "f16", "bf16", "q8_0", "q6_k")
"""The tensor types that can protect the reset token's rows: none below what llama.cpp itself would give them."""

_BUFFER_BYTES = 256 << 20
_ROOM_BYTES = 1 << 20
_STEP = re.compile(rb"\[ *(\d+)/ *(\d+)\]")


def quantize(
    source: Path,
    out: Path,
    file_type: str,
    protect: str | None,
    importances: Path | None,
    progress: Progress,
) -> None:
    """Quantize a GGUF file. `protect` is the least type of the embedding and of the head, or None.

    `importances` is a file that llama-imatrix wrote: what matters more is kept more exactly.
    Raises TakebackError with llama.cpp's own last words where it fails.
    """
    request = {
        "source": str(source),
        "out": str(out),
        "file_type": FILE_TYPES[file_type],
        "protect": None if protect is None else TYPE_NUMBERS[protect],
        "importances": importances and str(importances),
    }
    sizes = [0, *accumulate(tensor.nbytes for tensor in read_header(source).tensors)]

    def step(done: int, total: int) -> None:
        """llama.cpp counts tensors; the user is told bytes."""
        progress("quantizing", sizes[min(done, len(sizes) - 1)] if done < total else sizes[-1], sizes[-1])

    try:
        run_child("convert.quantize", request, f"llama.cpp cannot make {file_type} of this model", step)
    except TakebackError as error:
        if shutil.disk_usage(out.parent).free < _ROOM_BYTES:  # llama.cpp says only: iostream error
            raise TakebackError(f"{out.parent}: the disk is full; make room") from error
        raise


def _work(request: Json, step: Callable[[int, int], None]) -> Json:
    import llama_cpp.llama_cpp as llama  # noqa: PLC0415 (only the child may load it)

    from convert.importance import read_importances  # noqa: PLC0415 (it brings numpy, which --help must not)

    @llama.llama_log_callback  # type: ignore[untyped-decorator]
    def log(level: int, text: bytes, data: ctypes.c_void_p) -> None:
        found = _STEP.search(text)
        if found:
            step(int(found[1]), int(found[2]))
        elif level >= 3:  # warnings and errors
            sys.stderr.buffer.write(text)
            sys.stderr.flush()

    llama.llama_log_set(log, None)
    params = llama.llama_model_quantize_default_params()
    params.ftype = request["file_type"]
    params.nthread = os.cpu_count() or 1
    params.allow_requantize = True
    params.max_buf_size = _BUFFER_BYTES
    if request["protect"] is not None:
        # A tied embedding is the head too, and llama.cpp then asks for the head's type.
        params.token_embedding_type = params.output_tensor_type = request["protect"]
    measured = read_importances(Path(request["importances"])) if request["importances"] else {}
    if measured:
        params.imatrix = (
            llama.llama_model_imatrix_data * (len(measured) + 1)
        )(  # the last, empty one ends it
            *(
                (name.encode(), values.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), values.size)
                for name, values in measured.items()
            )
        )
    source, out = os.fsencode(request["source"]), os.fsencode(request["out"])
    if llama.llama_model_quantize(source, out, ctypes.byref(params)):
        sys.exit(1)
    return True


if __name__ == "__main__":
    child_main(_work)
