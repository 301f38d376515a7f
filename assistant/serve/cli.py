"""The arguments of `takeback serve`."""

import argparse
from importlib.util import find_spec
from pathlib import Path

from assistant.described import add_flags
from assistant.settings import SETTINGS
from convert.errors import TakebackError

_ABOUT = """\
What was sent cannot be unsaid. So a reply is sent when it is done, and a client that streams hears meanwhile
that it is being written. --stream-early, or "takeback": {"stream": "settled"} in a request, streams text once
it is no longer held back; if the model takes it back after all, a chunk says so, and finish_reason is
content_filter.

--parallel requests are answered at a time, with one model in one context, and what they decode is batched: all
are done sooner than one after the other, and each is slower than alone. Each has a context of --ctx tokens, so
two take twice the memory of one. More wait, in the order in which they came. Nothing of a request is logged or
kept on the disk.
"""

_LONGEST_QUEUE = 60
_MOST_PARALLEL = 16
"""The two together are less than `guard.MAX_PARALLEL`, which would refuse them."""


def add_arguments_serve(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `takeback serve`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _ABOUT
    where = parser.add_argument_group("where, and for whom")
    where.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="H",
        help="default 127.0.0.1, this machine alone; anything else needs a token. There is no TLS: across a "
        "network put a proxy in front that has it",
    )
    where.add_argument("--port", type=_port, default=8421, metavar="N", help="default 8421; 0: any free one")
    where.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="who does not send the token in it is refused; or the variable TAKEBACK_TOKEN",
    )
    where.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME[:PORT]",
        help="a further Host header to answer to, as of a proxy in front; can be given again",
    )
    where.add_argument(
        "--parallel",
        type=_parallel,
        default=2,
        metavar="N",
        help="requests to answer at a time, up to 16, each with a context of its own; default 2",
    )
    where.add_argument(
        "--queue", type=_queue, default=8, metavar="N", help="requests that may wait, up to 60; default 8"
    )
    where.add_argument(
        "--stream-early", action="store_true", help="streams get text before the reply is done, see below"
    )
    model = parser.add_argument_group("model")
    names = ("model", "ctx", "threads", "gpu_layers", "max_tokens")
    longest = "the longest reply, where a request does not say; default: what fits"
    add_flags(model, *(SETTINGS[name] for name in names), max_tokens=longest)
    resets = parser.add_argument_group("taking back")
    names = ("reset_token", "after_reset", "reset_bias", "max_resets", "hold_back")
    add_flags(
        resets,
        *(SETTINGS[name] for name in names),
        after_reset="as in takeback ask; default: as trained",
        hold_back="tokens by which a stream of settled text lags behind",
    )


def run_serve(args: argparse.Namespace) -> int:
    """Run `takeback serve`. Raises TakebackError where the extra is not installed."""
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise TakebackError(f"serving needs {missing[0]}: pip install 'takeback[serve]'")
    from assistant.serve.serve import serve

    return serve(args)


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65_535:
        raise argparse.ArgumentTypeError(f"must be from 0 to 65535, not {value}")
    return value


def _parallel(text: str) -> int:
    value = int(text)
    if not 1 <= value <= _MOST_PARALLEL:
        raise argparse.ArgumentTypeError(f"must be from 1 to {_MOST_PARALLEL}, not {value}")
    return value


def _queue(text: str) -> int:
    value = int(text)
    if not 0 <= value <= _LONGEST_QUEUE:
        raise argparse.ArgumentTypeError(f"must be from 0 to {_LONGEST_QUEUE}, not {value}")
    return value
