"""The tokens that were added to a tokenizer's vocabulary, and how they are sought in a text."""

from collections.abc import Mapping
from dataclasses import dataclass

from convert.checkpoint import Json
from convert.errors import TakebackError
from convert.untrusted import clean_line

MAX_ID = 1 << 24
_ID_DIGITS = 10
_TAKE_NONE = ("<unk>", "<s>", "<|endoftext|>")


@dataclass(frozen=True)
class Added:
    """One added token; `entry` is all that its file says of it."""

    id: int
    text: str
    entry: Mapping[str, Json]

    def said(self, flag: str) -> bool:
        """Whether a flag such as `special` or `rstrip` is set."""
        return bool(self.entry.get(flag))


def added_tokens(tokenizer: Mapping[str, Json], settings: Mapping[str, Json]) -> list[Added]:
    """The added tokens of tokenizer.json and of tokenizer_config.json: id, text and all that is said of each."""
    listed = tokenizer.get("added_tokens") or []
    more = settings.get("added_tokens_decoder") or {}
    if not isinstance(listed, list) or not isinstance(more, dict):
        raise TakebackError("tokenizer.json: added_tokens is no list")
    entries = [(entry.get("id"), entry) for entry in listed if isinstance(entry, dict)]
    entries += [
        (int(i), entry)
        for i, entry in more.items()
        if i.isdecimal() and len(i) < _ID_DIGITS and isinstance(entry, dict)
    ]
    added: dict[int, Added] = {}
    for i, entry in entries:
        text = entry.get("content")
        if type(i) is not int or not 0 <= i < MAX_ID or not isinstance(text, str) or not text:
            raise TakebackError("tokenizer.json: an added token has no id or no text")
        first = added.setdefault(i, Added(i, text, entry))
        if first.text != text or first.said("special") != bool(entry.get("special")):
            raise TakebackError(
                f"tokenizer_config.json: the token {i:,} is not what tokenizer.json says; save both again"
            )
    return list(added.values())


def refuse_odd_search(entries: list[Added]) -> None:
    """Refuse tokens that are sought in a text as llama.cpp cannot; TakebackError names the first."""
    wrong = [entry for entry in entries if entry.said("lstrip") or entry.said("single_word")]
    if wrong:
        shown = clean_line(wrong[0].text[:80])
        raise TakebackError(
            f"tokenizer.json: {shown} is sought with lstrip or single_word, as llama.cpp cannot"
        )


def take_space_behind(entries: list[Added]) -> bool:
    """Whether the added tokens swallow the white space behind them, as Phi-3's do and most do not.

    llama.cpp does so for all but three of a model that is called Phi-3, and for none of any other.
    """
    taking = [entry for entry in entries if entry.said("rstrip")]
    if not taking:
        return False
    lacking = [text for text in ("</s>", *_TAKE_NONE) if text not in {entry.text for entry in entries}]
    if lacking:  # llama.cpp asks for each of them, and does not load the file without one
        raise TakebackError(
            f"tokenizer.json: {clean_line(taking[0].text[:80])} swallows the space behind it (rstrip), which "
            f"llama.cpp does only where there is {lacking[0]} too"
        )
    last = max(entry.id for entry in taking)  # tokens behind it were added later, as the reset token is
    odd = [
        entry for entry in entries if entry.id < last and entry.said("rstrip") == (entry.text in _TAKE_NONE)
    ]
    if odd:
        shown = clean_line(odd[0].text[:80])
        raise TakebackError(
            f"tokenizer.json: {shown} is not like the other added tokens in rstrip, as llama.cpp needs"
        )
    return True
