from argparse import ArgumentTypeError

import pytest

from assistant.usage import above_zero, from_zero, positive, seed, share


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (positive, ["1", "99"], ["0", "-1"]),
        (above_zero, ["1e-9", "2"], ["0", "-1", "nan", "inf"]),
        (from_zero, ["0", "2.5"], ["-0.1", "nan", "inf"]),
        (share, ["0", "0.5", "1"], ["-0.1", "1.1", "nan"]),
        (seed, ["0", "4294967295"], ["-1", "4294967296"]),
    ],
)
def test_a_number_outside_its_range_is_told(kind, good, bad):
    assert [kind(text) for text in good] == [float(text) for text in good]
    for text in bad:
        with pytest.raises(ArgumentTypeError, match=r"^must be .*not "):
            kind(text)
    with pytest.raises(ValueError, match="x"):
        kind("x")
