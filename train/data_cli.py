"""`takeback train data`: parse, call."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import cast

from assistant.usage import positive
from convert.errors import UsageError
from train.own_prompts import FORMATS, Choice, Source, gather
from train.prompts import Kind, collect
from train.readers import DRAFT_LABELS, KINDS, PROMPT_LABELS, read_labels
from train.samplers import HOW

ABOUT = """\
Builds training rows with the base model's own replies: drafts that it writes to harmful prompts, to be taken back for
a safe reply, and its replies to harmless ones, which must stand. Writes train.jsonl, heldout.jsonl,
heldout_prompts.jsonl, report.md and report.json. An interrupted run goes on with the replies that it has.
"""
EXAMPLES = """\
examples:
  the default model's rows
    takeback train data --sets SETS --out data/ --exclude EVAL/*.csv
  for a model of your own, with prompts of your own and OpenAssistant's as harmless ones
    takeback train data --base MODEL.gguf --prompts mine.jsonl --exclude EVAL/*.csv --out data/ \\
        --oasst hub:OpenAssistant/oasst2/2023-11-05_oasst2_ready.trees.jsonl.gz --limit 500
  read what it drafted, then build again with what you found
    takeback train data ... --unread drafts.csv        (fill its column label: unsafe, harmless, refusal or unclear)
    takeback train data ... --labels drafts.csv

A prompts file is JSON lines, {"prompt": ..., "kind": "harmful" or "benign"}, or CSV with such columns (`goal` and
`target` are read too), plain or gzip. "opening" is put into the model's mouth; "safe" is what a harmful prompt's draft
is taken back for: without it, the base's own refusal where it gives one. A FILE may be hub:org/name/file, a data set's
file on the Hugging Face hub; nothing else uses the network. A GGUF base needs no training extra.
Drafts without a label count as unsafe only behind an opening, with no words of a refusal: read them if you can. Half
of the prompts that red teams wrote are harmless, so --hh takes those with a label (the package has 2,109,
--prompt-labels adds yours) unless a kind follows the file's name.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `takeback train data`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = ABOUT, EXAMPLES
    parser.add_argument(
        "--sets", type=Path, help="folder of the default model's public sets (see the model card)"
    )
    told = {
        "prompts": "your own prompts; KIND is for those that do not say theirs",
        "hh": "HH-RLHF's dialogues (.jsonl.gz), their first turns; KIND is for those without a label",
        "oasst": "OpenAssistant's ready.trees.jsonl.gz, their first turns (KIND: benign)",
    }
    for name in FORMATS:
        parser.add_argument(
            f"--{name}", nargs="+", action="append", default=[], metavar=("FILE", "KIND"), help=told[name]
        )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for the replies, train.jsonl, heldout.jsonl, the report",
    )
    parser.add_argument(
        "--base", type=Path, help="folder of safetensors or GGUF file (default: the bundled base)"
    )
    _filters(parser)
    _sampling(parser)
    _labels(parser)


def _filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--exclude",
        type=Path,
        nargs="*",
        default=[],
        help="files of evaluation prompts: nothing near them is used",
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="at most N prompts of each FILE, by chance"
    )
    parser.add_argument(
        "--language", default="en", help="of --oasst; all is every one (default: %(default)s)"
    )
    for name, size in (("shortest", 8), ("longest", 2000)):
        parser.add_argument(
            f"--{name}",
            type=positive,
            default=size,
            help=f"{name} prompt, in characters (default: %(default)s)",
        )


def _sampling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batch", type=positive, default=64, help="replies sampled at a time (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--sampler",
        choices=HOW,
        default="auto",
        help="auto: transformers where it is installed and reads the base, else the chat's engine, which reads any "
        "GGUF file, one reply after the other",
    )
    parser.add_argument("--gpu-layers", type=int, default=0, help="the engine's; -1 is all (default: 0)")


def _labels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--unread", type=Path, help="write drafts that nobody has labelled to this CSV, and stop"
    )
    parser.add_argument(
        "--labels", type=Path, action="append", default=[], metavar="FILE",
        help="CSV of draft_digest, label: what a reader found, as --unread wrote it",
    )  # fmt: skip
    parser.add_argument(
        "--prompt-labels", type=Path, action="append", default=[], metavar="FILE",
        help="CSV of prompt_digest, label (harmful, benign, ambiguous) for --hh",
    )  # fmt: skip
    parser.add_argument("--labelled-only", action="store_true", help="no draft becomes a row unread")


def run(args: argparse.Namespace, tell: Callable[[str], None]) -> int:
    """Build the data; returns the exit status."""
    sources = [_source(name, words) for name in FORMATS for words in getattr(args, name)]
    if not sources and not args.sets:
        raise UsageError("say where prompts are: --prompts FILE, --hh FILE, --oasst FILE or --sets FOLDER")
    if args.unread and args.unread.resolve() in [path.resolve() for path in args.labels]:
        raise UsageError("--unread would write over the file of --labels; give it another name")
    if args.shortest > args.longest:
        raise UsageError("--shortest is more than --longest")
    from assistant.models.bundled import base_model
    from train.data import DataSettings, build

    draft_labels = _read(args.labels, "draft_digest", DRAFT_LABELS)
    choice = Choice(
        exclude=args.exclude,
        labels=_read(args.prompt_labels, "prompt_digest", PROMPT_LABELS),
        language=args.language,
        lengths=(args.shortest, args.longest),
        limit=args.limit,
    )
    prompts = collect(args.sets, args.exclude) if args.sets else []
    own, fate = gather(sources, choice, prompts)
    fate.update(Counter((f"--sets, {prompt.source}", "kept") for prompt in prompts))
    settings = DataSettings(
        args.base or base_model(), args.out, args.batch, args.seed, args.sampler, args.gpu_layers,
        args.unread, draft_labels, args.labelled_only,
    )  # fmt: skip
    build([*prompts, *own], fate, settings, tell)
    return 0


def _source(name: str, words: list[str]) -> Source:
    if len(words) > 2 or (len(words) == 2 and words[1] not in KINDS):
        raise UsageError(
            f"--{name} takes a file and perhaps its kind, harmful or benign; repeat it for more files"
        )
    return Source(name, words[0], cast(Kind, words[1]) if len(words) == 2 else None)  # type: ignore[arg-type]


def _read(paths: list[Path], key: str, known: tuple[str, ...]) -> dict[str, str]:
    return {mark: label for path in paths for mark, label in read_labels(path, key, known).items()}
