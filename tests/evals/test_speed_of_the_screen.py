"""The figures of the screen are measured in a real terminal; how good they are is for `takeback bench` to say."""

import sys

import pytest

from assistant.models.bundled import base_model
from evals import bench
from evals.pseudo_terminal import running
from evals.speed import help as help_figure
from evals.speed import paint, pauses

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")


def test_the_figures_are_among_those_of_bench() -> None:
    assert {"help", "paint", "pauses"} <= set(bench.scripts())
    assert {"help", "pauses"} <= bench.WITHOUT_MODEL


def test_help_is_held_against_an_empty_python() -> None:
    found = help_figure.measure(rounds=3)
    assert found["help_ms"] > found["empty_python_ms"] > 0
    assert found["ratio"] > 1


def test_a_terminal_shows_what_is_written_and_takes_keys() -> None:
    program = "import os; print(os.get_terminal_size()[:2]); print('got', input())"
    with running([sys.executable, "-c", program], {}, (77, 11)) as terminal:
        terminal.wait_for("(77, 11)", 60)
        terminal.press(b"a word\r")
        terminal.wait_for("got a word", 60)


@pytest.mark.slow
def test_the_first_frame_is_seen_in_a_terminal() -> None:
    found = paint.measure(base_model(), threads=1, rounds=1)
    assert 0 < found["first_frame_s"] <= found["slowest_s"] < 60


@pytest.mark.slow
def test_a_pause_of_the_event_loop_is_seen(monkeypatch) -> None:
    monkeypatch.setattr(pauses, "SIZES", ((80, 24),))
    found = pauses.measure(seconds=2.0, messages=60)
    assert [row["reader"] for row in found["rows"]] == ["at the end", "reads back"]
    assert all(0 < row["p99_ms"] <= row["longest_ms"] for row in found["rows"])
