"""`takeback --help`, from its start to its end, against an empty Python.

Run: python -m evals.speed.help
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HELP = "import sys; from assistant.cli import main; sys.exit(main(['--help']))"
"""What the installed command does."""


def measure(model: Path | None = None, *, threads: int | None = None, rounds: int = 15) -> dict[str, Any]:
    """Start both in turn, `rounds` times. Milliseconds, medians; neither a model nor threads are asked for."""
    helps, empties = [], []
    for number in range(rounds + 1):
        empty, shown = _ms("pass"), _ms(HELP)
        if number:  # the first ones read from the disk
            empties.append(empty)
            helps.append(shown)
    ratio = statistics.median(shown / empty for shown, empty in zip(helps, empties, strict=True))
    return {
        "help_ms": round(statistics.median(helps), 1),
        "empty_python_ms": round(statistics.median(empties), 1),
        "ratio": round(ratio, 2),
        "target": "<= 6",
    }


def _ms(program: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begun) * 1e3


def main() -> None:
    """Print the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    for name, value in measure(rounds=parser.parse_args().rounds).items():
        print(f"{name:<24}{value}")


if __name__ == "__main__":
    main()
