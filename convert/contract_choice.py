"""Which token of the result is the reset token, and what the result says about it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from convert.checkpoint import Checkpoint
from convert.errors import TakebackError
from convert.folder_vocabulary import folder_vocabulary
from convert.plan import Plan
from convert.reset_token import (
    AFTER_RESET,
    DEFAULT_HOLD_BACK,
    DEFAULT_TOKEN,
    END_KEYS,
    AfterReset,
    BacktrackRecord,
    ResetContract,
    load_record,
    read_contract,
)
from convert.untrusted import clean_line
from convert.vocabulary import CONTROL, UNUSED, USER_DEFINED, Vocabulary, gguf_vocabulary

_BACK = frozenset(("reset", "backtrack", "backtracking", "takeback", "rewind", "retract", "undo", "restart"))
_WORD = re.compile(r"[a-z]+")
_MOST_SHOWN = 8


@dataclass(frozen=True)
class Choice:
    """The result's vocabulary, its contract (None for an ordinary model), and notes for the user.

    `record` is the backtrack.json that the contract is from, or None.
    """

    vocabulary: Vocabulary
    contract: ResetContract | None
    notes: tuple[str, ...]
    record: BacktrackRecord | None = None

    def sealed(self, source_sha256: str, reset_row_sha256: str) -> "Choice":
        """The choice with the finished file's hashes, and not calibrated where the record was measured on others.

        The type alone does not tell two models apart. A record without hashes is judged by the type.
        """
        if self.contract is None:
            return self
        contract = replace(self.contract, source_sha256=source_sha256, reset_row_sha256=reset_row_sha256)
        record = self.record
        same = record is not None and (
            record.calibrated_source_sha256 in (None, source_sha256)
            and record.calibrated_reset_row_sha256 in (None, reset_row_sha256)
        )
        if same or not contract.calibrated:
            return replace(self, contract=contract)
        note = "bias and hold-back were measured on another model than this: calibrate the result"
        return replace(self, contract=replace(contract, calibrated=False), notes=(*self.notes, note))


def choose(
    source: Checkpoint,
    adapter: Path | None,
    planned: Plan,
    *,
    reset_token: str | None,
    after_reset: str | None,
    file_type: str,
    vocabulary: Vocabulary | None = None,
) -> Choice:
    """Find the reset token and put it into the vocabulary as CONTROL; it is the source's unless one is given.

    What is known is from the flags, else from backtrack.json beside the adapter or the checkpoint, else from
    the keys of a GGUF source, else from the one added token that looks like a reset token. Raises TakebackError
    where these contradict each other or the vocabulary, and where several tokens look like one.
    """
    if after_reset is not None and after_reset not in AFTER_RESET:
        raise TakebackError(f"after_reset is {clean_line(after_reset[:40])!r}, and not rewind or keep")
    record = _record(source, adapter)
    old = None if source.header is None else read_contract(source.header, reset_token)[0]
    expected = reset_token or (record.reset_token if record else None) or (old.token if old else None)
    vocabulary = vocabulary or source_vocabulary(source, adapter, planned.rows)
    name = expected or _likely(vocabulary) or DEFAULT_TOKEN
    vocabulary = _named_new_rows(vocabulary, planned, name, record, adapter)
    if len(vocabulary.tokens) != planned.rows:
        raise TakebackError(
            f"{source.path}: the vocabulary has {len(vocabulary.tokens):,} tokens, and the embedding "
            f"{planned.rows:,} rows; each token needs one"
        )
    token_id = vocabulary.find(name)
    if token_id is None or vocabulary.types[token_id] not in (CONTROL, USER_DEFINED):
        if expected is not None:
            raise TakebackError(f"there is no special token {clean_line(name[:80])} in the vocabulary")
        note = "no added token looks like a reset token: an ordinary model, which cannot take back"
        return Choice(vocabulary, None, (f"{note} (--reset-token names one)",))
    if record is not None and record.reset_token_id not in (None, token_id):
        raise TakebackError(
            f"backtrack.json: reset_token_id is {record.reset_token_id}, and the vocabulary says {token_id}"
        )
    vocabulary = vocabulary.with_token(token_id, name)
    _check_no_end(vocabulary, token_id, name)
    contract, notes = _contract(token_id, name, record, old, file_type)
    if after_reset is not None and after_reset != contract.after_reset:
        if contract.calibrated:
            note = f"bias and hold-back were measured with {contract.after_reset}: calibrate the result"
            notes = (*notes, note)
        contract = replace(contract, after_reset=cast(AfterReset, after_reset), calibrated=False)
    return Choice(vocabulary, contract, notes, record)


def _likely(vocabulary: Vocabulary) -> str | None:
    """The one added token whose name has a word for taking back, as [RESET] or <|backtrack|>; None without one."""
    added = (CONTROL, USER_DEFINED)
    found = [
        text
        for text, kind in zip(vocabulary.tokens, vocabulary.types, strict=True)
        if kind in added and _speaks_of_taking_back(text)
    ]
    if len(found) > 1:
        shown = ", ".join(clean_line(text[:40]) for text in found[:_MOST_SHOWN])
        raise TakebackError(
            f"{len(found)} added tokens look like a reset token: {shown}; say which with --reset-token"
        )
    return found[0] if found else None


def _speaks_of_taking_back(text: str) -> bool:
    words = _WORD.findall(text.lower())
    return bool(_BACK & {*words, *(one + other for one, other in pairwise(words))})  # take_back is takeback


def _record(source: Checkpoint, adapter: Path | None) -> BacktrackRecord | None:
    found = load_record(adapter) if adapter is not None else None
    if found is None and source.header is None:
        found = load_record(source.path)
    return found


def source_vocabulary(source: Checkpoint, adapter: Path | None, rows: int) -> Vocabulary:
    """The vocabulary as source and adapter have it; a folder's is brought to `rows` tokens."""
    if source.header is not None:
        return gguf_vocabulary(source.header)
    own = adapter is not None and (adapter / "tokenizer.json").exists()
    folder = adapter if own and adapter is not None else source.path
    return folder_vocabulary(folder, source.path, rows, source.config)


def _named_new_rows(
    vocabulary: Vocabulary, planned: Plan, name: str, record: BacktrackRecord | None, adapter: Path | None
) -> Vocabulary:
    """Name the rows that an adapter added to the base, where the vocabulary does not name them yet.

    One such row is the reset token's; more than one need the adapter's own tokenizer.json.
    """
    last = len(vocabulary.tokens)
    new = [i for i in range(planned.base_rows, planned.rows) if i >= last or vocabulary.types[i] == UNUSED]
    if not new:
        return vocabulary
    if vocabulary.find(name) is not None:
        shown = clean_line(name[:80])
        raise TakebackError(f"{adapter}: adds the row {new[0]:,}, but the base has the token {shown} already")
    wanted = record.reset_token_id if record is not None and record.reset_token_id is not None else new[0]
    if new != [wanted]:
        raise TakebackError(
            f"{adapter}: adds the rows {new[0]:,} to {new[-1]:,}, of which only one reset token is named; "
            "put the adapter's tokenizer.json beside it and convert from a checkpoint folder"
        )
    return vocabulary.with_token(wanted, name)


def _check_no_end(vocabulary: Vocabulary, token_id: int, name: str) -> None:
    values: Mapping[str, Any] = {key: value.data for key, value in vocabulary.other.items()}
    ends = [key for key in END_KEYS if values.get(key) == token_id]
    if ends:
        raise TakebackError(
            f"the reset token {clean_line(name[:80])} is also {ends[0]}, which would end the reply; "
            "remove it from eos_token_id in generation_config.json"
        )


def _contract(
    token_id: int, name: str, record: BacktrackRecord | None, old: ResetContract | None, file_type: str
) -> tuple[ResetContract, tuple[str, ...]]:
    """The contract before its hashes, and what the user should know about where it comes from."""
    if record is not None:
        measured = record.calibrated and record.calibrated_type == file_type
        notes = (
            ()
            if measured
            else (f"bias and hold-back were not measured on {file_type}: calibrate the result",)
        )
        contract = ResetContract(
            token_id, name, record.after_reset, record.reset_bias, record.hold_back, measured, record.method
        )
        return contract, notes
    if old is not None:
        note = "bias and hold-back are the source's, not measured on the result: calibrate it"
        return replace(old, token_id=token_id, token=name, calibrated=False), (note,)
    note = "there is no backtrack.json: after a reset the draft is kept, and nothing is calibrated"
    return (
        ResetContract(token_id, name, "keep", 0.0, DEFAULT_HOLD_BACK, calibrated=False, method="unknown"),
        (note,),
    )
