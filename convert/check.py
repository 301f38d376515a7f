"""One thing that was looked at, and what was found."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["pass", "fail", "skipped"]
Part = Literal["structure", "tokenizer", "numbers"]
"""What a proof consists of: the file and its tensors, its vocabulary in llama.cpp, what it computes."""


@dataclass(frozen=True)
class Check:
    """The result of one check; `detail` is one line for the user."""

    name: str
    verdict: Verdict
    detail: str
    part: Part = "structure"


def passed_if(name: str, *, good: bool, detail: str) -> Check:
    """A check that passes or fails."""
    return Check(name, "pass" if good else "fail", detail)
