"""Proves a GGUF file's hyper-parameters: a wrong one computes something else from the right weights."""

import numpy as np

from convert.architectures import family_of_config, is_known
from convert.check import Check, passed_if
from convert.checkpoint import Checkpoint
from convert.gguf_header import GGUFHeader, MetadataValue, TypedValue, ValueType
from convert.untrusted import clean_line

_OF_ROWS = ".vocab_size"
"""How the keys end that change with the number of rows."""


def check_settings(header: GGUFHeader, source: Checkpoint) -> Check:
    """Compare every key of the architecture with what the source's config.json, or its own keys, say."""
    if source.header is None and not is_known(source.config):
        detail = "the architecture is not known here: the numbers prove them"
        return Check("settings", "skipped", detail)
    if source.header is None:
        family = family_of_config(source.config)
        wanted, name = dict(family.hyper_parameters(source.config)), family.GGUF
    else:
        name = str(source.header.metadata.get("general.architecture"))
        wanted = {key: value for key, value in source.header.typed.items() if key.startswith(f"{name}.")}
    found = header.metadata.get("general.architecture")
    if found != name:
        shown = clean_line(str(found)[:40])
        return Check("settings", "fail", f"general.architecture is {shown!r}, and the source's {name!r}")
    ours = {key: value for key, value in header.typed.items() if key.startswith(f"{name}.")}
    wrong = [
        key
        for key in sorted(ours.keys() | wanted.keys())
        if not key.endswith(_OF_ROWS) and _plain(ours.get(key)) != _plain(wanted.get(key))
    ]
    detail = f"{len(wanted)} keys of {name} are the source's"
    if wrong:
        given, theirs = (_plain(values.get(wrong[0])) for values in (ours, wanted))
        detail = f"{clean_line(wrong[0][:80])} is {_shown(given)}, and the source's {_shown(theirs)}"
    return passed_if("settings", good=not wrong, detail=detail)


def _plain(value: TypedValue | None) -> MetadataValue:
    """A value as the file can hold it: what is no whole number is rounded to float32."""
    if value is None or ValueType.FLOAT32 not in (value.type, value.element):
        return None if value is None else value.data
    with np.errstate(all="ignore"):
        if isinstance(value.data, tuple):
            return tuple(np.asarray(value.data, np.float32).tolist())
        return float(np.float32(value.data))


def _shown(value: MetadataValue) -> str:
    return "not there" if value is None else clean_line(str(value)[:60])
