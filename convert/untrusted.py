"""Text of a model, a file or a hub made fit for a terminal; the only way in.

What is replaced moves the cursor, hides or reorders text, or cannot be encoded: control characters, the marks
that change the direction of writing, the invisible tag characters, lone surrogates.
"""

import re

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNFIT = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction of writing
    "\ud800-\udfff"  # lone surrogates
    "\U000e0000-\U000e007f"  # tag characters
    "]"
)


def clean(text: str, *, keep: str = "\n\t") -> str:
    """Replace every unfit character by U+FFFD, but those in `keep`.

    It looks at one character at a time, so the pieces of a stream may be cleaned one by one.
    """
    return _UNFIT.sub(lambda found: found[0] if found[0] in keep else _REPLACEMENT, text)


def clean_line(text: str) -> str:
    """Clean text that must stay on one line, as names and titles do: each run of white space is one space."""
    return clean(" ".join(text.split()), keep="")
