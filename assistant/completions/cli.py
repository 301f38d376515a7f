"""`takeback completions`: what makes the Tab key complete commands, options, models and chats in a shell."""

from __future__ import annotations

import argparse
import sys

SHELLS = ("bash", "zsh", "fish")

_EPILOG = """\
where it goes:
  bash   source <(takeback completions bash)                       in ~/.bashrc
  zsh    source <(takeback completions zsh)                        in ~/.zshrc, after compinit
  fish   takeback completions fish > ~/.config/fish/completions/takeback.fish"""


def add_arguments_completions(parser: argparse.ArgumentParser) -> None:
    """The arguments of `takeback completions`."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("shell", choices=SHELLS, help="print the script for this shell")
    parser.add_argument("line", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def run_completions(args: argparse.Namespace) -> int:
    """Print a shell's script, or what the script asks for: a line with what the shell adds, then the words."""
    if not args.line:
        from assistant.completions.scripts import SCRIPTS

        sys.stdout.write(SCRIPTS[args.shell])
        return 0
    from assistant.completions.words import offer

    offered = offer(args.line)
    lines = [offered.kind, *(f"{word}\t{about}" for word, about in offered.words)]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0
