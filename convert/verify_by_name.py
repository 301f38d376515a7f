"""Proves the tensors and the vocabulary of a file whose architecture is not known here: the upstream converter's.

Which tensor is which is told by the gguf package's tables. What a converter changes in an architecture is not in
them: a tensor that was copied, or whose rows were moved as rotary embeddings want it, is compared; of any other
it is said that only the numbers prove it.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from convert.adapter import EMBEDDING, HEAD, Adapter
from convert.added_tokens import Added, added_tokens
from convert.check import Check, passed_if
from convert.checkpoint import Checkpoint, Json, StoredTensor, read_json
from convert.errors import TakebackError
from convert.folder_vocabulary import chat_template
from convert.gguf_header import GGUFHeader
from convert.transform import UNCHANGED, Transform
from convert.untrusted import clean_line
from convert.verify_weights import Pair, difference, is_embedding, is_readable
from convert.vocabulary import CONTROL, UNUSED, USER_DEFINED

_MOST_BLOCKS = 1024
_EXACTLY = (EMBEDDING, HEAD)
"""The tensors that no converter changes, and in which the reset token's rows are."""


def check_tensors_by_name(result: Checkpoint, source: Checkpoint, adapter: Adapter | None) -> list[Check]:
    """Compare every tensor of the source that has a name in the result, with the adapter in it."""
    stored = dict(source.tensors) | (dict(adapter.whole) if adapter is not None else {})
    names = _names(result, stored)
    if HEAD in stored and names.get(HEAD) not in result.tensors and is_embedding(stored):
        del stored[HEAD]
    found = {name: names[name] for name in stored if names.get(name) in result.tensors}
    missing = [name for name in _EXACTLY if name in stored and name not in found]
    detail = f"the embedding and {len(found) - 1} more of the source's {len(stored)} tensors are there"
    if missing:
        detail = f"missing: {', '.join(missing)}"
    checks = [passed_if("tensors", good=not missing and bool(found), detail=detail)]
    same, moved, unlike = [], [], [name for name in stored if name not in found]
    with np.errstate(all="ignore"):  # what is no number is off by more than any type allows
        for theirs, ours in found.items():
            pair = Pair(ours, theirs, result.tensors[ours], stored[theirs], UNCHANGED, done=False)
            error = _error(pair, adapter)
            if error is None:
                same.append(ours)
            elif theirs in _EXACTLY:
                checks.append(Check("weights", "fail", f"{ours}: {error}"))
            elif _moved(pair, adapter, result):
                moved.append(ours)
            else:
                unlike.append(theirs)
    if len(checks) == 1:
        checks.append(passed_if("weights", good=bool(same), detail=f"{len(same)} tensors compared"))
    if moved:
        checks.append(Check("q and k row order", "pass", f"{len(moved)} tensors compared"))
    if unlike:
        shown = f"{len(unlike)} tensors, such as {clean_line(unlike[0][:80])}"
        why = "are changed as only their converter knows: the numbers prove them"
        checks.append(Check("changed weights", "skipped", f"{shown}, {why}"))
    return checks


def _names(result: Checkpoint, stored: Mapping[str, StoredTensor]) -> dict[str, str]:
    """Checkpoint name → the result's name, as far as the gguf package knows the architecture."""
    import gguf  # noqa: PLC0415 (slow to import, and seldom needed)

    values = result.header.metadata if result.header is not None else {}
    kind = values.get("general.architecture")
    blocks = values.get(f"{kind}.block_count")
    architectures = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
    if kind not in architectures or type(blocks) is not int or not 0 < blocks <= _MOST_BLOCKS:
        return {EMBEDDING: "token_embd.weight", HEAD: "output.weight"}
    table = gguf.get_tensor_name_map(architectures[kind], blocks)
    named = {name: table.get_name(name, try_suffixes=(".weight", ".bias")) for name in stored}
    return {name: ours for name, ours in named.items() if ours is not None}


def _error(pair: Pair, adapter: Adapter | None) -> str | None:
    """What is wrong with a tensor that should be the source's own, or None."""
    rows = adapter.rows.get(pair.theirs) if adapter is not None else None
    shape = pair.source.shape
    if rows is not None:
        shape = (max(shape[0], *(i + 1 for i in rows.ids)), *shape[1:])
    if pair.result.shape != shape:
        return f"is {pair.result.shape} and should be {shape}"
    if not is_readable(pair.result):
        return f"is of type {pair.result.dtype.lower()}, which the gguf package cannot read"
    changed = adapter is not None and (pair.theirs in adapter.loras or rows is not None)
    exact = not changed and pair.source.ggml_type == pair.result.ggml_type
    return difference(pair, adapter if changed else None, moved=False, exact=exact)


def _moved(pair: Pair, adapter: Adapter | None, result: Checkpoint) -> bool:
    """Whether it is the source's with its rows in llama.cpp's rotary order, by one of the two numbers of heads."""
    values = result.header.metadata if result.header is not None else {}
    kind = values.get("general.architecture")
    for key in ("head_count", "head_count_kv"):
        heads = values.get(f"{kind}.attention.{key}")
        if type(heads) is int and heads > 0 and pair.result.rows % (2 * heads) == 0:
            turned = Pair(
                pair.name, pair.theirs, pair.result, pair.source, Transform(heads=heads), done=False
            )
            if _error(turned, adapter) is None:
                return True
    return False


def check_vocabulary_by_token(header: GGUFHeader, folder: Path, base: Path, token: int | None) -> Check:
    """Compare each token of a tokenizer.json, the types of the added ones, and the chat template.

    `folder` holds the tokenizer, `base` the template where that has none. The reset token, `token`, alone may be
    of another type than the tokenizer says.
    """
    if not (folder / "tokenizer.json").exists():
        return Check("vocabulary", "skipped", f"{folder} has no tokenizer.json to compare with")
    try:
        tokenizer, settings = (
            read_json(folder / "tokenizer.json"),
            _optional(folder / "tokenizer_config.json"),
        )
        entries = added_tokens(tokenizer, settings)
        template = chat_template(folder, base)
    except TakebackError as error:
        return Check("vocabulary", "fail", str(error))
    wanted = _vocab(tokenizer) | {entry.id: entry.text for entry in entries}
    wrong = _different(header, wanted, entries, token)
    if wrong is None and any(header.metadata.get(key) != value.data for key, value in template.items()):
        wrong = "the chat template is not the source's"
    detail = wrong or f"{len(wanted):,} tokens and the chat template are the source's"
    return passed_if("vocabulary", good=wrong is None, detail=detail)


def _different(
    header: GGUFHeader, wanted: Mapping[int, str], entries: list[Added], token: int | None
) -> str | None:
    """What of the tokens differs first; text that is sought as it stands may be written otherwise."""
    tokens, types = (header.metadata.get(f"tokenizer.ggml.{key}") for key in ("tokens", "token_type"))
    if not isinstance(tokens, tuple) or not isinstance(types, tuple) or len(tokens) != len(types):
        return "the file's tokens or their types are no lists of one length"
    added = {entry.id for entry in entries}
    for i, text in sorted(wanted.items()):
        ours = tokens[i] if i < len(tokens) else None
        if ours != text and not (i in added and i < len(types) and types[i] == USER_DEFINED):
            shown = clean_line(str(ours)[:40])
            return f"the token {i:,} is {shown!r}, and the source's {clean_line(text[:40])!r}"
    for entry in entries:
        kind = types[entry.id]
        if entry.id != token and (kind == UNUSED or (entry.said("special") and kind != CONTROL)):
            return f"the token {clean_line(entry.text[:40])} is of type {kind}, and was added"
    return None


def _optional(path: Path) -> dict[str, Json]:
    return read_json(path) if path.exists() else {}


def _vocab(tokenizer: Mapping[str, Json]) -> dict[int, str]:
    """Id → text; a Unigram lists its tokens in order, with a score each."""
    model = tokenizer.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocab, dict):
        return {i: text for text, i in vocab.items() if type(i) is int and i >= 0}
    listed = vocab if isinstance(vocab, list) else []
    return {i: str(entry[0]) for i, entry in enumerate(listed) if isinstance(entry, list) and entry}
