import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.untrusted import clean, clean_line


@pytest.mark.parametrize(
    "unfit",
    ["\x00", "\x1b", "\x7f", "\x9b", "\r", "\u202e", "\u2066", "\u200e", "\u061c", "\ud800", "\U000e0041"],
)
def test_unfit_characters_are_replaced(unfit):
    assert clean(f"a{unfit}b") == "a\ufffdb"


def test_ordinary_text_stays():
    text = "Größe\n\tنص 日本語 👩\u200d👧 e\u0301 \u00a0"
    assert clean(text) == text


def test_keep_says_which_control_characters_stay():
    assert clean("a\nb\rc", keep="\r") == "a\ufffdb\rc"


def test_a_line_is_one_line():
    assert clean_line("  a\nb\r\n\tc\u2028d\x1b[2J ") == "a b c d\ufffd[2J"


@given(st.text(), st.text())
def test_pieces_may_be_cleaned_apart(first, second):
    assert clean(first + second) == clean(first) + clean(second)
    assert clean(clean(first)) == clean(first)
    clean(first).encode()  # no lone surrogate is left
