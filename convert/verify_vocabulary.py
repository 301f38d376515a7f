"""Proves a GGUF file's vocabulary against its source's: every token's text and type, and every key beside them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from convert.architectures import is_known
from convert.check import Check
from convert.checkpoint import Checkpoint
from convert.contract_choice import source_vocabulary
from convert.errors import TakebackError
from convert.gguf_header import GGUFHeader, MetadataValue, TypedValue, ValueType
from convert.untrusted import clean_line
from convert.verify_by_name import check_vocabulary_by_token

_PREFIX = "tokenizer."
_A_TOKEN_EACH = tuple(f"tokenizer.ggml.{name}" for name in ("tokens", "token_type", "scores"))


def check_vocabulary(
    header: GGUFHeader, source: Checkpoint, adapter: Path | None, token: int | None
) -> Check:
    """Compare all `tokenizer.*` keys. The reset token, `token`, alone may be another than the source's.

    Where the source is one that the upstream converter alone can read, compare what is comparable.
    """
    tokens = header.metadata.get(_A_TOKEN_EACH[0], ())
    if not isinstance(tokens, tuple):
        return Check("vocabulary", "fail", f"{_A_TOKEN_EACH[0]} is no list")
    rows = len(tokens)
    folder = source.path if adapter is None or not (adapter / "tokenizer.json").exists() else adapter
    if source.header is None and not is_known(source.config):
        return check_vocabulary_by_token(header, folder, source.path, token)
    try:
        expected = source_vocabulary(source, adapter, rows).metadata()
    except TakebackError as error:
        by_token = check_vocabulary_by_token(header, folder, source.path, token)
        same = source.header is None and by_token.verdict == "pass"
        return (
            by_token if same else Check("vocabulary", "fail", f"the source's vocabulary is another: {error}")
        )
    return _compared(header, expected, token)


def _compared(header: GGUFHeader, expected: Mapping[str, TypedValue], token: int | None) -> Check:
    found = {key: value for key, value in header.typed.items() if key.startswith(_PREFIX)}
    odd = sorted(set(expected) ^ set(found))
    if odd:
        where = "the source" if odd[0] in found else "the file"
        return Check("vocabulary", "fail", f"{where} has no {clean_line(odd[0][:80])}")
    for key, value in expected.items():
        ours, theirs = found[key].data, value.data
        if value.element is ValueType.FLOAT32:
            theirs = tuple(np.asarray(theirs, np.float32).tolist())
        different = _of_tokens(ours, theirs, token) if key in _A_TOKEN_EACH else _of_key(ours, theirs)
        if different:
            return Check("vocabulary", "fail", f"{key} {different}")
    count = len(header.metadata[_A_TOKEN_EACH[0]])
    return Check(
        "vocabulary", "pass", f"{count:,} tokens, their types and {len(expected) - 2} keys are the source's"
    )


def _of_tokens(ours: MetadataValue, theirs: MetadataValue, token: int | None) -> str | None:
    """What differs first; the file may have one more than the source, its reset token."""
    if not isinstance(ours, tuple) or not 0 <= len(ours) - len(theirs) <= 1:
        return f"has not {len(theirs):,} entries, as the source's"
    for i, one in enumerate(ours):
        other = theirs[i] if i < len(theirs) else None
        if i != token and one != other:
            return f"of the token {i:,} is {_shown(one)}, and the source's {_shown(other)}"
    return None


def _of_key(ours: MetadataValue, theirs: MetadataValue) -> str | None:
    if ours == theirs:
        return None
    if isinstance(theirs, tuple):
        return "is another list than the source's"
    return f"is {_shown(ours)}, and the source's {_shown(theirs)}"


def _shown(value: MetadataValue) -> str:
    return repr(clean_line(str(value)[:40]))
