"""What the arguments of `takeback evaluate` that hold several words mean; each says what is wrong with others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from assistant.usage import UsageError
from evals.cases import PARTS, Mode
from evals.modes import DEFAULT, WHO
from evals.plan import HOTTEST, MOST_SAMPLES, Curve, OwnFile


def chosen_parts(only: str | None, benign: Path | None) -> tuple[str, ...]:
    """The parts to run: all of them, or those named; each once, in their usual order."""
    named = _words(only) if only else list(PARTS)
    unknown = [name for name in named if name not in PARTS]
    if unknown:
        raise UsageError(f"--only: no part '{unknown[0]}'; there is {', '.join(PARTS)}")
    if only and "benign" in named and not benign:
        raise UsageError("--only benign needs the prompts: give their file with --benign")
    return tuple(name for name in PARTS if name in named)


def chosen_modes(text: str | None) -> tuple[Mode, ...]:
    """Who answers: the usual three, or those named; each once, in their usual order."""
    if text is None:
        return DEFAULT
    named = _words(text)
    unknown = [name for name in named if name not in WHO]
    if unknown:
        raise UsageError(f"--modes: no mode '{unknown[0]}'; there is {', '.join(WHO)}")
    return tuple(mode for mode in WHO if mode in named)


def own_files(harmful: Sequence[str], harmless: Sequence[str]) -> tuple[OwnFile, ...]:
    """The user's files of prompts; one without a name is called after its file."""
    found = [_own_file(text, harmful=True) for text in harmful]
    found += [_own_file(text, harmful=False) for text in harmless]
    names = [own.probe for own in found]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"two files are called '{twice[0].partition(':')[2]}'; name them: NAME=FILE")
    return tuple(found)


def _own_file(text: str, *, harmful: bool) -> OwnFile:
    name, equals, path = text.partition("=")
    if equals and name and path and not Path(text).exists():
        return OwnFile(name, Path(path), harmful)
    return OwnFile(Path(text).stem, Path(text), harmful)


def chosen_curve(temperatures: str | None, best_of: str | None) -> Curve | None:
    """The samples to draw: `temperature=T,...` and `K,...`; one of the two may be left out."""
    if temperatures is None and best_of is None:
        return None
    name, equals, listed = (temperatures or "temperature=0.7").partition("=")
    if name != "temperature" or not equals:
        raise UsageError(f"--curve: '{temperatures}' is no temperature=T,...")
    warm = [_number(word, "--curve", 0, HOTTEST) for word in _words(listed)]
    counts = [_number(word, "--best-of", 1, MOST_SAMPLES) for word in _words(best_of or "1")]
    if any(count != int(count) for count in counts):
        raise UsageError("--best-of: must be whole numbers")
    return Curve(tuple(dict.fromkeys(warm)), tuple(sorted({int(count) for count in counts})))


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _number(word: str, option: str, low: float, high: float) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise UsageError(f"{option}: '{word}' is no number from {low:g} to {high:g}")
    return value
