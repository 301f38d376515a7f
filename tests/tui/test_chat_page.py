"""What docs/chat.md says is proved by tests and pictures that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/chat.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    files = (ROOT / "tests").rglob("test_*.py")
    there = {
        name for file in files for name in re.findall(r"def (test_\w+)\(", file.read_text(encoding="utf-8"))
    }
    assert named
    assert named <= there, named - there


def test_every_yes_of_the_table_is_proved_and_every_row_is_whole() -> None:
    rows = [
        [cell.strip() for cell in row.strip("|").split("|")] for row in re.findall(r"^\|.*\|$", PAGE, re.M)
    ]
    rows = rows[next(n for n, row in enumerate(rows) if row[:2] == ["feature", "Takeback"]) :]
    assert len(rows) == 40
    assert {len(row) for row in rows} == {11}
    for feature, ours, proof, *_ in rows[2:]:
        assert ours[0] in "●◐○", feature
        assert bool(proof) == (ours[0] != "○"), feature


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert "://" in target or (ROOT / "docs" / target).exists(), target
