"""Proves a GGUF file: by its own header, in llama.cpp, and against the source that it was made of."""

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from convert.adapter import Adapter, open_adapter
from convert.architectures import is_known
from convert.check import Check, passed_if
from convert.checkpoint import Checkpoint, open_checkpoint
from convert.children import Json, child_main, run_child
from convert.convert import reset_row_sha256
from convert.errors import TakebackError
from convert.gguf_header import GGUFHeader, read_header
from convert.reset_token import DEFAULT_TOKEN, END_KEYS, ResetContract, read_contract
from convert.source_digest import source_sha256
from convert.untrusted import clean_line
from convert.verify_by_name import check_tensors_by_name
from convert.verify_corpus import CORPUS, SourceTokenizer
from convert.verify_numbers import check_numbers
from convert.verify_settings import check_settings
from convert.verify_vocabulary import check_vocabulary
from convert.verify_weights import check_tensors
from convert.vocabulary import CONTROL


def verify(
    file: Path, against: Path | None = None, adapter: Path | None = None, *, numbers: bool = False
) -> list[Check]:
    """Check a GGUF file. With `against`, the source, and `adapter`, also every tensor and the tokenizer.

    `numbers` compares what the file and its source compute, too, which needs memory for both.
    A file that cannot be read is a failed check; a source that cannot be read raises TakebackError.
    """
    try:
        header = read_header(file)
    except TakebackError as error:
        return [Check("file", "fail", str(error))]
    checks = [Check("file", "pass", f"{len(header.tensors)} tensors, no gap, nothing cut off")]
    contract, note = read_contract(header)
    checks += _check_contract(file, header, contract, note)
    token = (contract.token_id, contract.token) if contract is not None else _named_token(header)
    in_llama = _check_in_llama(file, header, token, _tokenizer_of(against, adapter))
    in_llama = [replace(check, part="tokenizer") for check in in_llama]
    if against is None:
        return [*checks, *in_llama, Check("source", "skipped", "no source given to compare with (--against)")]
    with ExitStack() as stack:
        result = stack.enter_context(open_checkpoint(file))
        source = stack.enter_context(open_checkpoint(against))
        lora = stack.enter_context(open_adapter(adapter)) if adapter is not None else None
        if contract is not None and contract.source_sha256 is not None:
            checks.append(_check_source(source, lora, contract.source_sha256))
        checks.append(check_settings(header, source))
        known = source.header is not None or is_known(source.config)
        checks += (check_tensors if known else check_tensors_by_name)(result, source, lora)
        checks.append(check_vocabulary(header, source, adapter, token[0] if token else None))
    checks += in_llama
    if numbers and any(check.name == "llama.cpp" and check.verdict == "pass" for check in in_llama):
        computed = check_numbers(file, header, against, adapter, token[0] if token else None)
        checks += [replace(check, part="numbers") for check in computed]
    return checks


def _check_source(source: Checkpoint, adapter: Adapter | None, expected: str) -> Check:
    """Whether the source is the one that the file says, or, unquantized, says that it was made of that one too."""
    theirs = read_contract(source.header)[0] if source.header is not None and adapter is None else None
    if theirs is not None and theirs.source_sha256 == expected:
        return Check("source hash", "pass", "the source says that it was made of the same")
    same = source_sha256(source, adapter) == expected
    detail = "is the one it was made of" if same else "is not the one that the file says it was made of"
    return passed_if("source hash", good=same, detail=f"the source {detail}")


def _check_contract(
    file: Path, header: GGUFHeader, contract: ResetContract | None, note: str | None
) -> list[Check]:
    """The contract's keys, the token's type, the end-of-generation keys and the hash of the token's row."""
    token = _named_token(header)
    if contract is None and token is None:
        return [Check("contract", "skipped", note or "an ordinary model, without a reset token")]
    keyed = "backtrack.reset_token_id" in header.metadata
    detail = note or "the keys are all there and possible"
    checks = [Check("contract", "fail" if contract is None else "pass" if keyed else "skipped", detail)]
    if token is not None:
        token_id, text = token
        kind = header.metadata["tokenizer.ggml.token_type"][token_id]
        detail = f"the token {token_id} {clean_line(text[:80])} is of type {kind}; {CONTROL} is CONTROL"
        checks.append(passed_if("reset token type", good=kind == CONTROL, detail=detail))
        ends = [key for key in END_KEYS if header.metadata.get(key) == token_id]
        detail = f"it is also {', '.join(ends)}" if ends else "it is in no key that ends a generation"
        checks.append(passed_if("reset token ends no reply", good=not ends, detail=detail))
    if contract is not None and contract.reset_row_sha256 is not None:
        checks.append(_check_row(file, contract.token_id, contract.reset_row_sha256))
    return checks


def _check_row(file: Path, token_id: int, expected: str) -> Check:
    try:
        same = reset_row_sha256(file, token_id) == expected
    except TakebackError as error:
        return Check("reset row", "fail", str(error))
    detail = "the embedding's row has its hash" if same else "the embedding's row is not the one hashed"
    return passed_if("reset row", good=same, detail=detail)


def _named_token(header: GGUFHeader) -> tuple[int, str] | None:
    """Id and text of the token that the keys name, or that is named [RESET], whether or not it is sound."""
    values = header.metadata
    tokens, types = values.get("tokenizer.ggml.tokens"), values.get("tokenizer.ggml.token_type")
    if not isinstance(tokens, tuple) or not isinstance(types, tuple):
        return None
    token_id = values.get("backtrack.reset_token_id")
    if token_id is None and DEFAULT_TOKEN in tokens:
        token_id = tokens.index(DEFAULT_TOKEN)
    if type(token_id) is int and 0 <= token_id < min(len(tokens), len(types)):
        return token_id, str(tokens[token_id])
    return None


def _check_in_llama(
    file: Path, header: GGUFHeader, token: tuple[int, str] | None, tokenizer: Path | None
) -> list[Check]:
    """What llama.cpp makes of the vocabulary, in a process of its own.

    `tokenizer` is the source's to compare with: a tokenizer.json or a GGUF file.
    """
    source = None
    try:
        if tokenizer is not None and tokenizer.suffix == ".json":
            source = SourceTokenizer(tokenizer, header)
    except TakebackError as error:
        return [Check("tokenizer", "fail", str(error))]
    try:
        seen = _ask_llama(file, token, source.corpus if source else CORPUS)
    except TakebackError as error:
        return [Check("llama.cpp", "fail", str(error))]
    checks = [Check("llama.cpp", "pass", f"it reads a vocabulary of {seen['tokens']:,} tokens")]
    if token is not None:
        ids, plain = seen["special"], seen["plain"]
        checks += [
            passed_if("llama.cpp: no end", good=not seen["eog"], detail=f"end of generation: {seen['eog']}"),
            passed_if("llama.cpp: control", good=seen["control"], detail=f"control token: {seen['control']}"),
            passed_if(
                "llama.cpp: one token",
                good=ids == [token[0]],
                detail=f"with special tokens its text is {ids}",
            ),
            passed_if(
                "llama.cpp: typed text",
                good=bool(plain) and token[0] not in plain,
                detail=f"without special tokens its text is {len(plain)} ordinary tokens",
            ),
        ]
    if tokenizer is None:
        return checks
    expected = source.ids() if source else _ask_llama(tokenizer, None, CORPUS)["corpus"]
    return [*checks, _compared(expected, seen["corpus"], source.corpus if source else CORPUS, source)]


def _compared(
    expected: list[list[int]], found: list[list[int]], corpus: tuple[str, ...], source: SourceTokenizer | None
) -> Check:
    for text, theirs, ours in zip(corpus, expected, found, strict=True):
        if theirs != ours:
            return Check("tokenizer", "fail", f"other ids than the source's for {clean_line(text)[:50]!r}")
    where = source.note if source else ""
    return Check(
        "tokenizer", "pass", f"equal ids for {len(corpus)} texts{where}, {sum(map(len, found))} tokens"
    )


def _tokenizer_of(against: Path | None, adapter: Path | None) -> Path | None:
    """Where the source's tokenizer is; an adapter may bring its own."""
    if against is None or against.is_file():
        return against
    own = adapter / "tokenizer.json" if adapter is not None else against
    found = own if own.is_file() else against / "tokenizer.json"
    return found if found.is_file() or not (against / "tokenizer.model").is_file() else None


def _ask_llama(file: Path, token: tuple[int, str] | None, corpus: tuple[str, ...]) -> dict[str, Json]:
    request = {"file": str(file), "token": token, "corpus": corpus}
    answer: dict[str, Json] = run_child("convert.verify", request, f"{file}: llama.cpp cannot load it")
    return answer


def _work(request: Json, step: Callable[[int, int], None]) -> Json:
    """In the child: load the vocabulary alone and look at it."""
    import llama_cpp.llama_cpp as llama  # noqa: PLC0415 (only the child may load it)

    params = llama.llama_model_default_params()
    params.vocab_only = True
    model = llama.llama_model_load_from_file(os.fsencode(request["file"]), params)
    if not model:
        sys.exit(1)
    vocabulary = llama.llama_model_get_vocab(model)

    def ids(text: str, *, special: bool) -> list[int]:
        raw = text.encode()
        room = (llama.llama_token * (len(raw) + 16))()
        count = llama.llama_tokenize(vocabulary, raw, len(raw), room, len(room), False, special)
        return list(room[:count])

    answer: dict[str, Json] = {
        "tokens": llama.llama_vocab_n_tokens(vocabulary),
        "corpus": [ids(text, special=True) for text in request["corpus"]],
    }
    if request["token"] is not None:
        token_id, text = request["token"]
        answer["eog"] = bool(llama.llama_vocab_is_eog(vocabulary, token_id))
        answer["control"] = bool(llama.llama_vocab_is_control(vocabulary, token_id))
        answer["special"], answer["plain"] = ids(text, special=True), ids(text, special=False)
    return answer


if __name__ == "__main__":
    child_main(_work)
