"""What samples a base: transformers in batches, or the chat's engine; loaded when the first reply is missing."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

from convert.errors import TakebackError
from convert.gguf_header import read_header
from convert.whole_file import write_text
from train.replies import Wanted, missing

How = Literal["auto", "transformers", "engine"]
HOW = ("auto", "transformers", "engine")
Sampler = Callable[[Sequence[Wanted]], None]
Tell = Callable[[str], None]
NOTE = "replies_of.json"
_HEAD = 1 << 20


def which(base: Path, how: How) -> Literal["transformers", "engine"]:
    """What samples this base: transformers wherever it is there and can read it, else the engine.

    Raises:
        TakebackError: nothing that is installed can read the base.
    """
    there = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))
    if how == "engine" and not base.is_file():
        raise TakebackError(f"{base}: the engine reads GGUF files only; run takeback convert first")
    if how == "transformers" and not there:
        raise TakebackError("sampling with transformers needs it: pip install 'takeback[train]'")
    if base.is_file():
        return "transformers" if how != "engine" and there and (how != "auto" or _reads(base)) else "engine"
    if not base.is_dir():
        raise TakebackError(f"no base model at {base}: give a folder of safetensors or a GGUF file")
    if not there:
        raise TakebackError(f"{base}: a folder needs pip install 'takeback[train]'; a GGUF file does not")
    return "transformers"


@contextmanager
def open_sampler(
    base: Path, replies: Path, *, how: How, batch: int, seed: int, gpu_layers: int, tell: Tell
) -> Iterator[Sampler]:
    """A function that appends the wanted replies which `replies` lacks; the base is loaded once, and only if needed.

    Raises:
        TakebackError: the base cannot be read, or the replies that are there are another base's.
    """
    with ExitStack() as stack:
        loaded: list[Sampler] = []

        def sampler(wanted: Sequence[Wanted]) -> None:
            if not missing(wanted, replies):
                return
            if not loaded:
                name = which(base, how)
                _claim(base, replies, name)
                loaded.append(
                    _transformers(base, replies, batch, seed, tell)
                    if name == "transformers"
                    else _engine(base, replies, seed, gpu_layers, tell, stack)
                )
            loaded[0](wanted)

        yield sampler


def _reads(base: Path) -> bool:
    """Whether transformers can dequantize a GGUF file, by its architecture."""
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES  # noqa: PLC0415

    return read_header(base).metadata.get("general.architecture") in GGUF_SUPPORTED_ARCHITECTURES


def _transformers(base: Path, replies: Path, batch: int, seed: int, tell: Tell) -> Sampler:
    import torch  # noqa: PLC0415 (the extra, which the engine does not need)

    from train import grouped  # noqa: PLC0415
    from train.base import load_base  # noqa: PLC0415
    from train.sampling import sample  # noqa: PLC0415

    model, tokenizer = load_base(base, torch.bfloat16)
    if not tokenizer.chat_template:
        raise TakebackError(f"{base}: has no chat template; choose a chat model")
    if model.config.model_type in grouped.PLAIN:
        model.set_attn_implementation(grouped.NAME)
    model.eval()
    return lambda wanted: sample(model, tokenizer, wanted, replies, batch=batch, seed=seed, tell=tell)


def _engine(base: Path, replies: Path, seed: int, gpu_layers: int, tell: Tell, stack: ExitStack) -> Sampler:
    from assistant.engine.options import LoadOptions  # noqa: PLC0415 (llama.cpp, which transformers does not need)
    from assistant.engine.session import Session  # noqa: PLC0415
    from train.engine_sampling import sample_with_engine  # noqa: PLC0415

    session: Any = stack.enter_context(Session.open(base, LoadOptions(gpu_layers=gpu_layers)))
    return lambda wanted: sample_with_engine(session, wanted, replies, seed=seed, tell=tell)


def sampled_with(replies: Path) -> list[str]:
    """The samplers that wrote the replies, as far as their note tells."""
    return list(_note(replies).get("sampled_with", []))


def _note(replies: Path) -> dict[str, Any]:
    path = replies.with_name(NOTE)
    try:
        note = json.loads(path.read_bytes()) if path.exists() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise TakebackError(f"cannot read {path}: {str(error)[:100]}") from error
    names = note.get("sampled_with", []) if isinstance(note, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TakebackError(f"{path}: is not what this command wrote; remove it")
    return note


def _claim(base: Path, replies: Path, name: str) -> None:
    """Note whose replies these are, and what writes them; another base's must not be added to them."""
    note, mine = _note(replies), _identity(base)
    if note.get("base", mine) != mine:
        raise TakebackError(
            f"{replies}: its replies are another base's; give another --out, or remove it and {NOTE}"
        )
    names = sorted({*note.get("sampled_with", []), name})
    write_text(replies.with_name(NOTE), json.dumps({"base": mine, "sampled_with": names}) + "\n")


def _identity(base: Path) -> str:
    """16 hexadecimal digits that change with the sizes or the beginnings of the files that the weights are in."""
    files = [base] if base.is_file() else sorted(base.glob("*.safetensors"))
    mark = hashlib.sha256()
    for path in files:
        try:
            mark.update(f"{path.stat().st_size} ".encode())
            with path.open("rb") as file:
                mark.update(file.read(_HEAD))
        except OSError as error:
            raise TakebackError(f"cannot read {path}: {error.strerror or error}") from error
    return mark.hexdigest()[:16]
