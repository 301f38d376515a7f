"""Grammars that a reply must follow, as GBNF text: reading and trying them.

llama.cpp's parser recurses without a bound, takes some grammars that it then never gets to the end of, and
writes what is wrong to the terminal. So a grammar is first tried in another process, with limits.
"""

import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from assistant.engine.probe import limit
from convert.children import Json, child_main, run_child
from convert.errors import TakebackError
from convert.untrusted import clean_line

_MOST_BYTES = 256 << 10
_MEMORY, _SECONDS, _DEADLINE = 1 << 30, 20, 120
"""Bytes of address space, seconds of processor time and of waiting that a trial may take."""
_RULE = re.compile(r"^\s*([A-Za-z0-9-]+)\s*::=", re.MULTILINE)
_ANY_CHARACTER, _JSON_CHARACTER = r'[^"\\]', r'[^"\\\x00-\x1F\x7F]'
"""In a string, as the bindings write it and as JSON has it: they let a bare line break through."""
_known: set[str] = set()


def read_grammar_file(path: Path, *, schema: bool = False) -> str:
    """The grammar in a file of GBNF, or of a JSON schema. Raises TakebackError that names the file."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise TakebackError(f"{path}: longer than {_MOST_BYTES >> 10} KiB; no grammar needs that")
        text = data.decode("utf-8")
    except OSError as error:
        raise TakebackError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TakebackError(f"{path}: not UTF-8 text") from error
    return _tried(text, f"{path}: no usable {'JSON schema' if schema else 'grammar'}", schema=schema)


def check_grammar(text: str) -> None:
    """Raise TakebackError unless llama.cpp can use the grammar; what was tried is known again."""
    if text not in _known:
        if len(text.encode("utf-8", "replace")) > _MOST_BYTES:
            raise TakebackError(f"the grammar is longer than {_MOST_BYTES >> 10} KiB")
        _tried(text, "the grammar cannot be used", schema=False)


def grammar_of_schema(text: str) -> str:
    """The grammar of what a JSON schema allows. Raises TakebackError if there is none."""
    return _tried(text, "the JSON schema cannot be used", schema=True)


def _tried(text: str, what: str, *, schema: bool) -> str:
    answer = run_child("assistant.engine.grammar", {"text": text, "schema": schema}, what, deadline=_DEADLINE)
    if answer["error"]:
        raise TakebackError(f"{what}: {answer['error']}")
    grammar = str(answer["grammar"])
    _known.add(grammar)
    return grammar


def _work(request: Json, _step: Callable[[int, int], None]) -> Json:
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # its threads map more than the limit
    limit(_MEMORY, _SECONDS)
    text = request["text"]
    if request["schema"]:
        try:
            text = _of_schema(text)
        except (
            Exception,
            RecursionError,
        ) as error:  # the converter fails in any way, on anything it did not expect
            return {"grammar": None, "error": _line(str(error)) or type(error).__name__}
    return {"grammar": text, "error": _fault(text)}


def _of_schema(text: str) -> str:
    from llama_cpp.llama_grammar import json_schema_to_gbnf  # noqa: PLC0415 (the limits are set first)

    return str(json_schema_to_gbnf(text)).replace(_ANY_CHARACTER, _JSON_CHARACTER)


def _fault(text: str) -> str | None:
    """What is wrong with a grammar, or None. May end the process, or take all that it is allowed to."""
    from llama_cpp import llama_cpp as c  # noqa: PLC0415 (the limits are set first)

    from assistant.engine.libllama import last_error  # noqa: PLC0415

    names = list(dict.fromkeys(["root", *_RULE.findall(text)]))
    if "\0" in text or "root" not in _RULE.findall(text):
        return "it has no rule named root"
    # What is read of this process if llama.cpp ends it here.
    sys.stderr.write("it is nested too deeply, or a rule begins with itself without end\n")
    sys.stderr.flush()
    for name in names:
        # From each rule as the first: one that is to be reached only later may also call itself without end.
        with tempfile.TemporaryFile() as said:
            os.dup2(said.fileno(), sys.stderr.fileno())
            handle = c.llama_sampler_init_grammar(None, text.encode(), name.encode())
            said.seek(0)
            words = said.read(4096).decode("utf-8", "replace")
        if not handle:
            return _line(words.partition("error parsing grammar: ")[2]) or _line(last_error().strip(" ()"))
        c.llama_sampler_free(handle)
    return None


def _line(text: str) -> str:
    """The first line of a message, fit for a terminal."""
    return clean_line(text.strip().partition("\n")[0])[:160]


if __name__ == "__main__":
    child_main(_work)
