"""The table of seeded faults in docs/conversion.md names tests that are there, and checks that verify has."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_fault_of_the_table_has_its_test():
    text = (ROOT / "docs" / "conversion.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (.+?) \| `([\w/.]+)::(test_\w+)` \|$", text, re.MULTILINE)
    assert len(rows) >= 25
    for fault, _, file, name in rows:
        source = (ROOT / "tests" / "convert" / file).read_text(encoding="utf-8")
        assert f"def {name}(" in source, fault


def test_every_check_of_the_table_is_one_of_verify_s():
    text = (ROOT / "docs" / "conversion.md").read_text(encoding="utf-8")
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "convert").glob("verify*.py"))
    rows = re.findall(r"^\| (.+?) \| (.+?) \| `[\w/.]+::test_\w+` \|$", text, re.MULTILINE)
    for (
        fault,
        checks,
    ) in rows:
        for check in checks.split(", "):
            assert f'"{check}"' in source or check.startswith("refused"), (fault, check)
