import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from convert.errors import TakebackError
from train import thresholds
from train.thresholds import Margins, choose, choose_bias, choose_hold, curve_point, fires, resample

reply = arrays(np.float32, st.integers(1, 12), elements=st.floats(-20, 20, width=32))
replies = st.lists(reply, min_size=1, max_size=60)


@settings(deadline=None)
@given(replies, st.sampled_from([0.0, 0.01, 0.05, 0.2]))
def test_the_bias_keeps_the_budget_and_the_next_larger_one_would_not(benign, budget):
    bias = choose_bias(benign, budget)
    taken = sum(fires(margin, bias) is not None for margin in benign)
    assert taken <= budget * len(benign)
    more = sum(fires(margin, bias + 0.01) is not None for margin in benign)
    assert more > budget * len(benign) or bias == 30


def test_a_reset_fires_at_the_first_place_that_reaches_the_threshold():
    assert fires(np.array([-3.0, -1.0, 0.5]), 1.0) == 1
    assert fires(np.array([-3.0, -1.0]), 0.5) is None


def test_the_hold_back_shows_no_more_than_asked():
    drafts = [np.array([-9.0] * length + [9.0]) for length in (2, 4, 6, 20)]
    assert choose_hold(drafts, 0.0, 0.0) == 20
    assert choose_hold(drafts, 0.0, 0.05) == 19
    assert choose_hold([np.array([-9.0])], 0.0, 0.05) == 32
    assert choose_hold([np.array([-9.0] * 199 + [9.0])], 0.0, 0.0) == 128


def test_the_hold_back_is_that_of_the_models_own_drafts_where_they_are_known():
    short, long = np.array([-9.0, 9.0]), np.array([-9.0] * 50 + [9.0])
    written, own = (
        choose(Margins([short], [short - 18]), 0.0, 0.0),
        Margins([short], [short - 18], [long, short - 18]),
    )
    assert written["hold_back"] == 1
    assert written["own_taken_back"] is None
    found = choose(own, 0.0, 0.0)
    assert found["hold_back"] == 50
    assert found["own_taken_back"] == [1, 2]
    assert found["caught"] == [1, 1]


@settings(deadline=None)
@given(replies, replies, st.sampled_from([0.0, 0.05, 0.3]))
def test_each_interval_holds_its_value(unsafe, benign, budget):
    before, thresholds.RESAMPLES = thresholds.RESAMPLES, 20
    try:
        found = choose(Margins(unsafe, benign), budget, 0.1)
    finally:
        thresholds.RESAMPLES = before
    for name in ("reset_bias", "hold_back"):
        low, high = found[f"{name}_interval"]
        assert low <= found[name] <= high
    for name in ("needless", "caught"):
        (count, total), (low, high) = found[name], found[f"{name}_interval"]
        assert low <= count / total <= high
    assert found["needless"] == [sum(fires(m, found["reset_bias"]) is not None for m in benign), len(benign)]
    lengths = [at for margin in unsafe if (at := fires(margin, found["reset_bias"])) is not None]
    assert sum(found["tokens_until_reset"]) == len(lengths) == found["caught"][0]
    assert all(found["tokens_until_reset"][at] == lengths.count(at) for at in lengths)


def test_intervals_of_more_rows_are_narrower_and_always_the_same():
    def margins(rows):
        random = np.random.default_rng(7)
        unsafe = [np.repeat([-9.0, 9.0], [at, 1]) for at in random.integers(1, 30, rows)]
        return Margins(unsafe, list(random.normal(-5, 2, (rows, 1))))

    few, many = choose(margins(40), 0.1, 0.05), choose(margins(1_000), 0.1, 0.05)
    assert few == choose(margins(40), 0.1, 0.05)
    for name in ("reset_bias_interval", "hold_back_interval", "needless_interval"):
        assert 0 < many[name][1] - many[name][0] < few[name][1] - few[name][0]


def test_the_bias_of_a_known_distribution_is_inside_the_interval():
    random = np.random.default_rng(11)
    margins = Margins([np.array([9.0])], list(random.normal(0, 1, (800, 1)).astype(np.float32)))
    low, high = choose(margins, 0.05, 0.0)["reset_bias_interval"]
    assert low < -1.645 < high
    assert high - low < 0.5
    assert len(resample(margins, 0.05, 0.0)[0]) == thresholds.RESAMPLES


def test_a_model_that_takes_back_whatever_the_bias_is_refused():
    with pytest.raises(TakebackError, match=r"2 of 3 benign replies .* bias of -30.* raise --budget"):
        choose(Margins([np.array([9.0])], [np.array([40.0]), np.array([50.0]), np.array([0.0])]), 0.1, 0.1)


def test_the_curve_counts_both_kinds():
    margins = Margins([np.array([-3.0, 1.0]), np.array([-9.0])], [np.array([-5.0])])
    assert curve_point(margins, 0.0) == {"bias": 0.0, "unsafe": 0.5, "benign": 0.0}
    assert curve_point(margins, 9.0) == {"bias": 9.0, "unsafe": 1.0, "benign": 1.0}
