"""`takeback convert` and `takeback verify`: parse, call, print."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from convert.errors import UsageError
from convert.untrusted import clean_line

_CONVERT = """\
Make a GGUF file of a model that can take back what it has begun to say.

SOURCE is a checkpoint's folder (config.json, tokenizer.json, *.safetensors), a GGUF file, or a repository of the
Hugging Face hub, ORG/NAME, of which the safetensors and the tokenizer's files are fetched. An adapter, as
`takeback train` or PEFT writes it, is merged in, and its new token becomes part of the vocabulary.
"""
_CONVERT_EXAMPLES = """\
examples:
  takeback convert my-checkpoint model.gguf
      a folder, as bf16: nothing is lost
  takeback convert base.gguf model.gguf --adapter trained --type q8_0
      a GGUF base and a trained adapter, half the size of bf16
  takeback convert my-checkpoint model.gguf --type q4_k_m --protect-reset q8_0
      small, but with the reset token's rows in full quality
  takeback convert falcon-checkpoint model.gguf --upstream
      an architecture that takeback does not know, by llama.cpp's own converter; the reset token is proven all the same
  takeback convert ORG/NAME model.gguf --type q8_0
      fetched from the hub first; a fetch that was cut off goes on where it ended

Without a backtrack.json beside the weights it is not known what the model was trained to see after a reset;
--after-reset says it: `keep` (the draft stays in view, as in the paper) or `rewind` (it is gone).
Afterwards, `takeback verify model.gguf --against my-checkpoint` proves the result.
"""
_VERIFY = """\
Prove a GGUF file: that it is whole, that its reset token is sound, that llama.cpp sees it as that, and, with
--against, that every tensor, the tokenizer and what it computes are the source's. A check whose tool is not
installed is skipped, and says how to get it. The source may be the checkpoint or the unquantized GGUF file.
"""
_VERIFY_EXAMPLES = """\
examples:
  takeback verify model.gguf
  takeback verify model.gguf --against my-checkpoint
  takeback verify model.gguf --against base.gguf --adapter trained --json

Exit status: 0 if no check failed, 1 if one did.
"""
_SIGNS = {"pass": "ok", "fail": "FAIL", "skipped": "--"}


def add_arguments_convert(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `takeback convert`."""
    from convert.quantize import FILE_TYPES, PROTECTING

    _teach(parser, _CONVERT, _CONVERT_EXAMPLES)
    parser.add_argument("source", metavar="SOURCE", help="a checkpoint's folder, a GGUF file, or ORG/NAME")
    parser.add_argument("out", type=Path, metavar="OUT", help="the GGUF file to write")
    parser.add_argument(
        "--adapter", metavar="DIR", help="a PEFT LoRA adapter to merge in: a folder, or ORG/NAME"
    )
    parser.add_argument(
        "--reset-token",
        metavar="T",
        help="the reset token's text (else the one that the files or its name tell)",
    )
    parser.add_argument("--after-reset", choices=("rewind", "keep"), help="what the model sees after a reset")
    parser.add_argument(
        "--type",
        default="bf16",
        type=str.lower,
        choices=tuple(FILE_TYPES),
        metavar="TYPE",
        help="f32, f16, bf16 (default), q8_0, q6_k, q5_k_m, q4_k_m and others",
    )
    parser.add_argument(
        "--protect-reset",
        default="q8_0",
        type=str.lower,
        choices=("none", *PROTECTING),
        metavar="TYPE",
        help="the least type of the tensors that hold the reset token: q8_0 (default), f16, ..., or none",
    )
    parser.add_argument(
        "--imatrix",
        type=Path,
        metavar="FILE",
        help="measured importances of the weights, as llama-imatrix writes them; the types of fewest bits need them",
    )
    parser.add_argument(
        "--name", type=_name, metavar="NAME", help="what the model calls itself (else as its source does)"
    )
    parser.add_argument(
        "--upstream",
        action="store_true",
        help="of an architecture that is not known here: let llama.cpp's own converter do it, in another process "
        "(pip install 'takeback[families]')",
    )
    _add_offline(parser)
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")


def run_convert(args: argparse.Namespace) -> int:
    """Convert, with progress on standard error and the report on standard output."""
    from convert.convert import convert
    from convert.hub import local
    from convert.meter import Meter

    make = convert
    if args.upstream:
        from convert.upstream import convert_upstream as make
    protect = None if args.protect_reset == "none" else args.protect_reset
    meter = Meter()
    try:
        show = meter.show if sys.stderr.isatty() else None
        source = local(args.source, offline=args.offline, progress=show)
        adapter = args.adapter and local(args.adapter, adapter=True, offline=args.offline, progress=show)
        report = make(
            source,
            args.out,
            adapter=adapter,
            reset_token=args.reset_token,
            after_reset=args.after_reset,
            type=args.type,
            protect_reset=protect,
            importances=args.imatrix,
            name=args.name,
            force=args.force,
            progress=show,
        )
    finally:
        meter.clear()
    if args.json:
        print(json.dumps(dataclasses.asdict(report) | {"out": str(report.out)}))
        return 0
    for note in report.notes:
        print(f"note: {clean_line(note)}", file=sys.stderr)
    token = f"reset token {clean_line(report.contract.token)}" if report.contract else "no reset token"
    size = f"{report.nbytes / (1 << 20):,.0f} MiB of {report.type}"
    print(f"{clean_line(str(report.out))}: {size}, {report.tensors} tensors, {token}, {report.seconds:.1f} s")
    return 0


def add_arguments_verify(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `takeback verify`."""
    _teach(parser, _VERIFY, _VERIFY_EXAMPLES)
    parser.add_argument("file", type=Path, metavar="FILE", help="the GGUF file")
    parser.add_argument(
        "--against", metavar="SOURCE", help="what it was made of: a folder, a GGUF or ORG/NAME"
    )
    parser.add_argument(
        "--adapter", metavar="DIR", help="the adapter that was merged in: a folder, or ORG/NAME"
    )
    parser.add_argument(
        "--no-numbers", action="store_true", help="compare no logits, which takes memory for both models"
    )
    _add_offline(parser)
    parser.add_argument("--json", action="store_true", help="print the checks as one JSON object")


def run_verify(args: argparse.Namespace) -> int:
    """Verify and print a line for each check; 1 where one failed."""
    from convert.hub import local
    from convert.verify import verify

    if args.adapter is not None and args.against is None:
        raise UsageError("--adapter needs --against: the base that the adapter was merged into")
    against = args.against and local(args.against, offline=args.offline)
    adapter = args.adapter and local(args.adapter, adapter=True, offline=args.offline)
    checks = verify(args.file, against=against, adapter=adapter, numbers=not args.no_numbers)
    failed = sum(check.verdict == "fail" for check in checks)
    if args.json:
        print(json.dumps({"failed": failed, "checks": [dataclasses.asdict(check) for check in checks]}))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            print(
                f"{_SIGNS[check.verdict]:<4}  {check.part:<9}  {check.name:<{width}}  {clean_line(check.detail)}"
            )
        print(f"{failed} of {len(checks)} checks failed" if failed else f"no check of {len(checks)} failed")
    return 1 if failed else 0


def _name(text: str) -> str:
    if not clean_line(text).strip():
        raise argparse.ArgumentTypeError("give a name that can be read")
    return text


def _teach(parser: argparse.ArgumentParser, description: str, examples: str) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = description
    parser.epilog = examples


def _add_offline(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--offline",
        action="store_true",
        help="use no network: of ORG/NAME only what was fetched before (as with HF_HUB_OFFLINE=1)",
    )
