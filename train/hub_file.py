"""A data file of the Hugging Face hub, fetched only where a user writes `hub:org/name/file`."""

from __future__ import annotations

import re
from pathlib import Path

from convert.errors import TakebackError
from convert.untrusted import clean_line

SCHEME = "hub:"
_PLACE = re.compile(r"([\w.-]{1,96}/[\w.-]{1,96}?)(?:@([\w.-]{1,120}))?/([^\\]{1,400})", re.ASCII)


def local_file(given: str) -> Path:
    """The path of a data file: the one given, or where huggingface-hub put its copy of a data set's file.

    Raises:
        TakebackError: the place is not written as `hub:org/name/file` or `hub:org/name@revision/file`, or the hub
            does not give it.
    """
    if not given.startswith(SCHEME):
        return Path(given)
    found = _PLACE.fullmatch(given.removeprefix(SCHEME))
    if found is None or ".." in given or found[3].startswith("/"):
        raise TakebackError(f"{given}: a data set's file on the hub is written {SCHEME}org/name/file")
    from huggingface_hub import errors, hf_hub_download  # noqa: PLC0415 (slow to import, and seldom needed)

    failed = getattr(errors, "HTTPError", OSError)  # of the HTTP library, whichever it is
    unresolved = getattr(errors, "RevisionResolutionError", OSError)  # of its later versions
    try:
        return Path(hf_hub_download(found[1], found[3], revision=found[2], repo_type="dataset"))
    except errors.GatedRepoError as error:
        why = "is gated: ask for access on its page, then log in with `hf auth login`"
        raise TakebackError(f"{given}: the data set {why}") from error
    except errors.RepositoryNotFoundError as error:
        raise TakebackError(f"{given}: there is no such data set") from error
    except errors.EntryNotFoundError as error:
        raise TakebackError(
            f"{given}: the data set has no such file, or it was not fetched before"
        ) from error
    except (failed, unresolved, OSError, ValueError) as error:
        why = clean_line(str(error))[:160] or type(error).__name__
        raise TakebackError(f"{given}: cannot be fetched: {why}") from error
