"""Searches another process's memory."""

from collections.abc import Mapping
from pathlib import Path


def count_in_memory(pid: int, needles: Mapping[str, bytes]) -> dict[str, int]:
    """How often each of these bytes stands in a process's writable memory, in use or freed."""
    counts = dict.fromkeys(needles, 0)
    process = Path(f"/proc/{pid}")
    with (process / "maps").open() as maps, (process / "mem").open("rb", buffering=0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            if not rights.startswith("rw"):
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            try:
                memory.seek(start)
                held = memory.read(end - start)
            except (OSError, ValueError):  # the kernel's own pages
                continue
            for name, needle in needles.items():
                counts[name] += held.count(needle)
    return counts
