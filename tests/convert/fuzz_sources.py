"""Damages a sound source and converts it, again and again, in one process whose memory is measured.

Run by test_fuzz: python -m tests.convert.fuzz_sources KIND CASES SEED FOLDER. Prints a line of JSON: how many were
refused and converted, the most memory in MiB, and what went wrong: anything but one line, or a file left behind.
"""

import json
import os
import random
import resource
import shutil
import sys
import traceback
import warnings
from copy import deepcopy
from pathlib import Path

from convert.convert import convert
from convert.errors import TakebackError
from convert.untrusted import clean
from tests.convert import small_model

ODD = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        255,
        1 << 31,
        1 << 53,
        1 << 64,
        10**400,
        0.5,
        -0.0,
        1e308,
        float("nan"),
    ),
    *(
        "",
        "x",
        "\x00",
        "\ud800",
        "../x",
        "[RESET]",
        "<0x41>",
        "▁",
        "é" * 300,
        [],
        {},
        [[]],
        [0],
        {"a": 0},
        ["x"] * 9,
    ),
)


def damaged_json(rng, value):
    """The value with one to three places changed: another value, a part removed, doubled, or swapped with another."""
    places = []

    def walk(node):
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, child in items:
            places.append((node, key))
            walk(child)

    for _ in range(rng.randint(1, 3)):
        places.clear()
        walk(value)
        if not places:
            return value
        # large tables would take all the luck: their parent is as likely as they are
        node, key = (
            rng.choice(rng.sample(places, min(3, len(places))))
            if rng.random() < 0.5
            else places[rng.randrange(min(60, len(places)))]
        )
        change = rng.randrange(5)
        if change == 0:
            del node[key]
        elif change == 1 and isinstance(node, list):
            node.append(node[key])
        elif change == 2 and isinstance(node, dict):
            node[rng.choice(("", "x", str(key) + "x", "..", "0"))] = node.pop(key)
        elif change == 3:
            other, place = rng.choice(places)
            node[key] = json.loads(
                json.dumps(
                    other.get(place) if isinstance(other, dict) else other[place] if place < len(other) else 0
                )
            )
        else:
            node[key] = deepcopy(rng.choice(ODD))
    return value


def damaged_bytes(rng, raw, first):
    """Bytes changed, cut out or put in, mostly within the first ones."""
    raw = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(min(first, len(raw)) if rng.random() < 0.9 else len(raw))
        change = rng.randrange(6)
        if change == 0:
            raw[at] ^= 1 << rng.randrange(8)
        elif change == 1:
            raw[at : at + rng.choice((1, 2, 4, 8))] = rng.choice((b"\xff", b"\0")) * rng.choice((1, 2, 4, 8))
        elif change == 2:
            del raw[at : at + rng.randint(1, 9)]
        elif change == 3:
            raw[at:at] = rng.randbytes(rng.randint(1, 9))
        elif change == 4:
            del raw[at:]
        else:
            raw[at : at + 8] = rng.choice((0, 1, 1 << 31, 1 << 40, (1 << 64) - 1)).to_bytes(8, "little")
        if not raw:
            break
    return bytes(raw)


def rewrite_json(rng, path):
    if rng.random() < 0.15:
        path.write_bytes(damaged_bytes(rng, path.read_bytes(), 1 << 20))
    else:
        text = json.dumps(damaged_json(rng, json.loads(path.read_bytes())))
        path.write_text(text, encoding="utf-8")


def headers(rng, source, adapter):
    """The header of a safetensors file, as bytes or as JSON of the right length."""
    path = source / "model.safetensors"
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    if rng.random() < 0.4:
        path.write_bytes(damaged_bytes(rng, raw, 8 + length))
    else:
        text = json.dumps(damaged_json(rng, json.loads(raw[8 : 8 + length]))).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])


def indexes(rng, source, adapter):
    rewrite_json(
        rng, source / rng.choice(("model.safetensors.index.json", "config.json", "generation_config.json"))
    )


def tokenizers(rng, source, adapter):
    name = rng.choice(("tokenizer.json", "tokenizer.json", "tokenizer_config.json", "backtrack.json"))
    rewrite_json(rng, source / name)


def adapters(rng, source, adapter):
    if rng.random() < 0.5:
        rewrite_json(
            rng, adapter / rng.choice(("adapter_config.json", "adapter_config.json", "backtrack.json"))
        )
    else:
        path = adapter / "adapter_model.safetensors"
        raw = path.read_bytes()
        path.write_bytes(damaged_bytes(rng, raw, 8 + int.from_bytes(raw[:8], "little")))


def ggufs(rng, source, adapter):
    path = source / "base.gguf"
    path.write_bytes(damaged_bytes(rng, path.read_bytes(), 12_000))


KINDS = {kind.__name__: kind for kind in (headers, indexes, tokenizers, adapters, ggufs)}


def sound(kind, folder):
    """A sound source, and its adapter where the kind has one; what is copied and damaged for each case."""
    small_model.HIDDEN, small_model.HEADS, small_model.KV_HEADS = 32, 2, 1
    small_model.HEAD_DIM, small_model.FFN, small_model.LAYERS = 16, 32, 1
    with_adapter = kind in ("adapters", "ggufs")
    small_model.write_checkpoint(
        folder / "source", tied=not with_adapter, reset=not with_adapter,
        rows=None if with_adapter else 320, shards=2 if kind == "indexes" else 1,
    )  # fmt: skip
    (folder / "source" / "generation_config.json").write_text('{"eos_token_id": [2, 0], "bos_token_id": 1}')
    if not with_adapter:
        small_model.write_record(folder / "source")
    else:
        config = {"rank_pattern": {"q_proj": 8}, "alpha_pattern": {"q_proj": 3}, "modules_to_save": None}
        small_model.write_adapter(folder / "adapter", 300, untied=True, config=config)
        small_model.write_record(folder / "adapter", reset_token_id=300)
    if kind == "ggufs":
        convert(folder / "source", folder / "source" / "base.gguf", type="f32")


def one(kind, rng, folder, found):
    case, out = folder / "case", folder / "out"
    shutil.rmtree(case, ignore_errors=True)
    shutil.copytree(folder / "sound", case)
    out.mkdir(exist_ok=True)
    adapter = case / "adapter" if (case / "adapter").exists() else None
    KINDS[kind](rng, case / "source", adapter)
    source = case / "source" / "base.gguf" if kind == "ggufs" else case / "source"
    given = adapter if kind == "adapters" or rng.random() < 0.5 else None
    try:
        convert(source, out / "m.gguf", adapter=given, type=rng.choice(("f32", "bf16", "q8_0")))
    except TakebackError as error:
        found["refused"] += 1
        if "\n" in clean(str(error), keep="") or len(str(error)) > 1000:
            found["wrong"].append(f"not one line: {error!r:.200}")
        if list(out.iterdir()):
            found["wrong"].append("a file is left")
    except BaseException:
        found["wrong"].append(traceback.format_exc()[-1500:])
    else:
        found["converted"] += 1
        if [path.name for path in out.iterdir()] != ["m.gguf"]:
            found["wrong"].append("more than the result is left")
    shutil.rmtree(out)


def main():
    kind, cases, seed, place = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    warnings.simplefilter("error")  # what numpy would write to the terminal
    os.fsync = lambda descriptor: None
    sound(kind, place / "sound")
    found = {"refused": 0, "converted": 0, "wrong": []}
    for case in range(cases):
        one(kind, random.Random(f"{kind} {seed} {case}"), place, found)
        if len(found["wrong"]) > 5:
            break
    found["mebibytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(json.dumps(found))


if __name__ == "__main__":
    main()
