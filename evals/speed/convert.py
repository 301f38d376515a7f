"""Conversion of a checkpoint, BF16 to BF16 with its hashes, against `cp` and fsync of the same bytes.

The checkpoint is made here, of random numbers, and deleted afterwards, so no model is needed. Source and copy are
read from a cold cache and from a warm one; the reading back of the result is timed apart. The largest resident
memory is that of a process that only converts. Run: python -m evals.speed.convert [--size MIB]
"""

import argparse
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np

from convert.checkpoint import open_checkpoint
from convert.convert import convert
from convert.errors import TakebackError
from convert.source_digest import source_sha256
from evals.speed.own_process import in_own_process

MOST_MIB = 400
"""Resident memory that a conversion may have, in MiB."""
_SMALL, _LARGE = (64, 192, 4), (2048, 5632, 32)
"""Hidden size, feed-forward size and heads of a tiny checkpoint and of one to measure."""
_PIECE = 4 << 20
_SPECIAL = ("<|begin|>", "<|end|>", "[RESET]")


def measure(
    model: Path | None = None,
    *,
    threads: int | None = None,
    size: int = 1 << 30,
    vocabulary: int = 32_000,
    rounds: int = 3,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Measure both in turn, `rounds` times with each cache; the ratio is of each round, `cp`'s time over ours.

    `size` is that of the checkpoint in bytes, about, and `vocabulary` how many tokens it has. Neither a model nor
    threads are asked for. Raises TakebackError where `folder`, else the one for temporary files, has no room.
    """
    room = folder or Path(tempfile.gettempdir())
    if shutil.disk_usage(room).free < 2 * size + (256 << 20):
        raise TakebackError(f"{room}: needs {(2 * size >> 20) + 256:,} MiB of free space to convert in")
    with tempfile.TemporaryDirectory(prefix="takeback-bench-", dir=room) as made:
        source, out = Path(made) / "checkpoint", Path(made) / "out"
        weights = write_checkpoint(source, size, vocabulary)
        rows = [_in_turn(weights, source, out, rounds, cold=cold) for cold in (True, False)]
        out.with_suffix(".gguf").unlink(missing_ok=True)
    return {
        "rows": [{name: value for name, value in row.items() if name != "memory_mib"} for row in rows],
        "ratio": min(row["ratio"] for row in rows),
        "target": f">= 0.8, at most {MOST_MIB} MiB",
        "memory_mib": max(row["memory_mib"] for row in rows),
        "checkpoint_mib": size >> 20,
        "tokens": vocabulary,
    }


def _in_turn(weights: Path, source: Path, out: Path, rounds: int, *, cold: bool) -> dict[str, Any]:
    """Seconds of both and of reading back, medians, with the cache emptied before each or filled."""
    copies, conversions, readings, memory = [], [], [], 0.0
    result = out.with_suffix(".gguf")
    for _ in range(rounds):
        _cached(weights, cold=cold)
        copies.append(_copy(weights, out))
        out.unlink()
        _cached(weights, cold=cold)
        seconds, used = _convert(source, result)
        conversions.append(seconds)
        memory = max(memory, used)
        _cached(result, cold=cold)
        readings.append(_read_back(result))
        result.unlink()
    return {
        "cache": "cold" if cold else "warm",
        "convert_s": round(statistics.median(conversions), 2),
        "cp_s": round(statistics.median(copies), 2),
        "reading_back_s": round(statistics.median(readings), 2),
        "ratio": round(statistics.median(a / b for a, b in zip(copies, conversions, strict=True)), 3),
        "memory_mib": round(memory, 1),
    }


def _cached(path: Path, *, cold: bool) -> None:
    """Have a file's bytes out of the system's cache, where it can be asked to, or in it."""
    with path.open("rb") as file:
        if cold and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while not cold and file.read(_PIECE):
            pass


def _copy(weights: Path, out: Path) -> float:
    """Seconds for `cp` and an fsync; without sharing blocks, which would copy nothing."""
    never = ["--reflink=never"] if sys.platform == "linux" else []
    started = time.perf_counter()
    subprocess.run(["cp", *never, str(weights), str(out)], check=True)
    with out.open("rb+") as file:
        os.fsync(file.fileno())
    return time.perf_counter() - started


def _convert(source: Path, result: Path) -> tuple[float, float]:
    """Seconds of a conversion and the largest resident memory, MiB, of the process that it ran in."""
    told = in_own_process("the conversion", "evals.speed.convert", "--convert", str(source), str(result))
    return told["seconds"], told["memory_mib"]


def _read_back(result: Path) -> float:
    """Seconds to read every tensor of the result and to hash it."""
    started = time.perf_counter()
    with open_checkpoint(result) as opened:
        source_sha256(opened, None)
    return time.perf_counter() - started


def _child(source: Path, result: Path) -> None:
    """Convert, and say how long it took and how much memory there was at most."""
    report = convert(source, result)
    print(json.dumps({"seconds": report.seconds, "memory_mib": _peak() / (1 << 20)}))


def _peak() -> int:
    """The most bytes of this process that were resident. Linux's ru_maxrss has the parent's, from before exec, too."""
    try:
        told = Path("/proc/self/status").read_text("ascii")
    except OSError:
        import resource  # noqa: PLC0415 (Windows has none)

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return 1024 * int(told.partition("VmHWM:")[2].split()[0])


def write_checkpoint(folder: Path, size: int, vocabulary: int) -> Path:
    """Write a random Llama checkpoint in BF16 of about `size` bytes with a reset token; returns its weights' file.

    Raises TakebackError where so many tokens do not fit.
    """
    folder.mkdir()
    hidden, wide, heads = _SMALL if size < 64 << 20 else _LARGE
    tokenizer, vocabulary = _tokenizer(vocabulary)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    named = {"bos_token": _SPECIAL[0], "eos_token": _SPECIAL[1]}
    (folder / "tokenizer_config.json").write_text(json.dumps(named), encoding="utf-8")
    layer = {
        **dict.fromkeys(("input_layernorm", "post_attention_layernorm"), (hidden,)),
        **dict.fromkeys(("self_attn.q_proj", "self_attn.o_proj"), (hidden, hidden)),
        **dict.fromkeys(("self_attn.k_proj", "self_attn.v_proj"), (hidden // 4, hidden)),
        **dict.fromkeys(("mlp.gate_proj", "mlp.up_proj"), (wide, hidden)),
        "mlp.down_proj": (hidden, wide),
    }
    left = size // 2 - 2 * vocabulary * hidden  # a BF16 has two bytes; embedding and head are not tied
    layers = left // sum(int(np.prod(shape)) for shape in layer.values())
    if layers < 1:
        raise TakebackError(
            f"{vocabulary:,} tokens leave no room for a layer in {size >> 20:,} MiB; take more"
        )
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens": (vocabulary, hidden), "model.norm": (hidden,)}
    shapes |= {f"model.layers.{i}.{name}": shape for i in range(layers) for name, shape in layer.items()}
    shapes["lm_head"] = (vocabulary, hidden)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": hidden,
        "intermediate_size": wide,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 4,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
        "vocab_size": vocabulary,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return _write_weights(folder / "model.safetensors", shapes)


def _write_weights(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    header: dict[str, Any] = {}
    at = 0
    for name, shape in shapes.items():
        end = at + 2 * int(np.prod(shape))
        header[f"{name}.weight"] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    numbers = np.random.default_rng(1).normal(0, 0.02, _PIECE // 2).astype(np.float32)
    piece = (numbers.view(np.uint32) >> 16).astype("<u2").tobytes()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for start in range(0, at, _PIECE):
            file.write(piece[: at - start])
        file.flush()
        os.fsync(file.fileno())
    return path


def _tokenizer(vocabulary: int) -> tuple[dict[str, Any], int]:
    """A byte-level BPE tokenizer.json of so many tokens, of 259 at least, with a merge for most; and how many."""
    letters = _byte_letters()
    longer = ("".join(text) for length in (2, 3) for text in product(letters, repeat=length))
    made = list(islice(longer, max(0, vocabulary - len(letters) - len(_SPECIAL))))
    texts = [*letters, *made]
    merges = [[text[:-1], text[-1]] for text in made]
    sought = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [
        {"id": len(texts) + i, "content": text, "special": True, **sought} for i, text in enumerate(_SPECIAL)
    ]
    bytewise = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {
        "added_tokens": added,
        "pre_tokenizer": bytewise,
        "decoder": bytewise,
        "model": {"type": "BPE", "vocab": {text: i for i, text in enumerate(texts)}, "merges": merges},
    }
    return tokenizer, len(texts) + len(added)


def _byte_letters() -> list[str]:
    """The 256 letters that stand for bytes in a byte-level BPE."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others: Iterator[int] = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def main() -> None:
    """Print the table, or, as its own child, convert."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--size", type=int, default=1024, metavar="MIB", help="of the checkpoint; default 1024"
    )
    parser.add_argument(
        "--vocabulary", type=int, default=32_000, metavar="N", help="tokens; Gemma 2 has 256000"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where there is room for twice as much")
    parser.add_argument("--convert", type=Path, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.convert:
        _child(*args.convert)
        return
    found = measure(size=args.size << 20, vocabulary=args.vocabulary, rounds=args.rounds, folder=args.folder)
    for row in found.pop("rows"):
        print(", ".join(f"{name} {value}" for name, value in row.items()))
    for name, value in found.items():
        print(f"{name:<32}{value}")


if __name__ == "__main__":
    main()
