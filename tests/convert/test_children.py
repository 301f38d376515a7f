"""Work in another process: whatever the child does, the parent has an answer."""

import time

import pytest

from convert.children import run_child
from convert.errors import TakebackError

CHILD = "tests.convert.odd_child"


def test_a_result_comes_back() -> None:
    assert run_child(CHILD, "quick", "it failed", deadline=100) == "quick"


@pytest.mark.parametrize(
    ("request_", "deadline", "says"),
    [
        ("sleep", 1.0, "did not end within 1 sec"),
        ("mute", 1.0, "did not end within 1 sec"),
        ("nonsense", 100, "ended with status"),
        ("flood", 100, "xxx"),
    ],
)
def test_a_child_that_fails_is_one_line(request_, deadline, says) -> None:
    started = time.monotonic()
    with pytest.raises(TakebackError, match=f"it failed: .*{says}") as raised:
        run_child(CHILD, request_, "it failed", deadline=deadline)
    assert len(str(raised.value)) < 300
    assert time.monotonic() - started < 60


def test_what_stops_the_parent_stops_the_child() -> None:
    def interrupted(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_child(CHILD, "step", "it failed", interrupted)
