"""The arguments of `takeback ask`."""

import argparse
from pathlib import Path


def add_arguments_ask(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `takeback ask`."""
    parser.add_argument(
        "text", nargs="?", metavar="TEXT", help="what to ask; else it is read from standard input"
    )
    parser.add_argument(
        "--messages", type=Path, metavar="FILE", help="a whole conversation: a JSON list of {role, content}"
    )
    parser.add_argument("--system", metavar="S", help="the system message")
    parser.add_argument(
        "--prefill", default="", metavar="P", help="the reply's beginning, as if the model had written it"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--grammar", type=Path, metavar="FILE", help="the reply must follow this grammar, in GBNF"
    )
    form.add_argument(
        "--json-schema", type=Path, metavar="FILE", help="the reply must be JSON that this schema allows"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="one event a line, as JSON, on standard output")
    output.add_argument(
        "--stream",
        action="store_true",
        help="write text as it comes, also into a pipe. What was written cannot be unsaid: if the model "
        "takes it back, a line says so, and the reader has read it",
    )
    output.add_argument(
        "--plain", action="store_true", default=None, help="words for events, nothing is redrawn"
    )
    output.add_argument(
        "--show-discarded", action="store_true", help="also give the drafts that were taken back"
    )
    model = parser.add_argument_group("model")
    model.add_argument("--model", metavar="M", help="a GGUF file, or a name that takeback models lists")
    model.add_argument("--ctx", type=int, metavar="N", help="the context's length in tokens")
    model.add_argument("--threads", type=int, metavar="N", help="threads; default: the physical cores")
    model.add_argument("--gpu-layers", type=int, metavar="N", help="layers to put on a GPU; -1: all")
    sampling = parser.add_argument_group("sampling")
    sampling.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same reply")
    sampling.add_argument(
        "--temperature", type=float, metavar="T", help="0 takes the likeliest token; default 0.7"
    )
    sampling.add_argument("--top-p", type=float, metavar="P", help="default 0.9")
    sampling.add_argument("--min-p", type=float, metavar="P", help="default 0.05")
    sampling.add_argument(
        "--repeat-penalty", type=float, metavar="R", help="lowers what was just said; 1 is none; default 1.1"
    )
    sampling.add_argument(
        "--dry",
        type=float,
        metavar="D",
        help="lowers what would repeat a run of words; 0.8 is usual; default 0",
    )
    sampling.add_argument(
        "--xtc", type=float, metavar="X", help="the chance that the likeliest tokens are left out; default 0"
    )
    sampling.add_argument(
        "--mirostat",
        type=float,
        metavar="BITS",
        help="aim at so many bits of surprise a token, in place of top-p and min-p; default 0, which is off",
    )
    sampling.add_argument(
        "--max-tokens", type=int, metavar="N", help="the reply's longest length; default: what fits"
    )
    resets = parser.add_argument_group("taking back")
    resets.add_argument(
        "--reset-token", metavar="T", help="the reset token's text, if the file does not say it"
    )
    resets.add_argument(
        "--after-reset",
        choices=("rewind", "keep", "off"),
        help="what the model sees after a reset: not its draft (rewind), or also its draft (keep); off: it "
        "never takes back. Default: as it was trained",
    )
    resets.add_argument("--reset-bias", type=float, metavar="B", help="added to the reset token's logit")
    resets.add_argument("--max-resets", type=int, metavar="N", help="one more ends the reply; default 4")
    resets.add_argument("--hold-back", type=int, metavar="N", help="tokens by which the output lags behind")


def run_ask(args: argparse.Namespace) -> int:
    """Run `takeback ask`."""
    from assistant.ask import ask  # noqa: PLC0415 (it loads the engine, which --help does not need)

    return ask(args)
