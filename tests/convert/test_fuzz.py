"""Damaged sources by the thousand: each is converted or refused in one line, with no file left and little memory."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from convert.convert import convert
from convert.verify import verify
from tests.convert.fuzz_sources import KINDS, damaged_bytes

pytest.importorskip("resource")
CASES = 500
"""Of each kind: 2,500 in all."""
ROOT = Path(__file__).parents[2]


def damaged(kind, cases, seed, folder):
    words = ["-m", "tests.convert.fuzz_sources", kind, str(cases), str(seed), str(folder)]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_damaged_sources(tmp_path, kind):
    found = damaged(kind, 12, 0, tmp_path)
    assert found["wrong"] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_damaged_sources(tmp_path, kind):
    found = damaged(kind, CASES, 1, tmp_path)
    assert found["wrong"] == []
    assert found["refused"] + found["converted"] == CASES
    assert found["refused"] > CASES // 4
    assert found["mebibytes"] < 1024


@pytest.mark.slow
def test_damaged_files_in_llama_cpp(tmp_path, converted):
    """verify and the quantizer hand damaged files to llama.cpp, whose process may end as it likes."""
    raw = converted.read_bytes()
    for case in range(30):
        rng = random.Random(case)
        (tmp_path / "m.gguf").write_bytes(damaged_bytes(rng, raw, 12_000))
        for check in verify(tmp_path / "m.gguf"):
            assert "\n" not in check.detail
        try:
            convert(tmp_path / "m.gguf", tmp_path / "out.gguf", type="q4_k_m")
        except Exception as error:
            assert type(error).__name__ == "TakebackError", case
        (tmp_path / "out.gguf").unlink(missing_ok=True)
        assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]
