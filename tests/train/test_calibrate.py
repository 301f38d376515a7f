import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from convert.convert import convert
from convert.reset_token import load_record
from tests.convert.small_model import write_checkpoint, write_record
from train.calibrate import choose_bias, choose_hold, fires, measured

margins = st.lists(
    arrays(np.float32, st.integers(1, 12), elements=st.floats(-20, 20, width=32)), min_size=1, max_size=60
)


@given(margins, st.sampled_from([0.0, 0.01, 0.05, 0.2]))
def test_the_bias_keeps_the_budget_and_the_next_larger_one_would_not(benign, budget):
    bias = choose_bias(benign, budget)
    taken = sum(fires(margin, bias) is not None for margin in benign)
    assert taken <= budget * len(benign)
    more = sum(fires(margin, bias + 0.01) is not None for margin in benign)
    assert more > budget * len(benign) or bias == 30


def test_a_reset_fires_at_the_first_place_that_reaches_the_threshold():
    assert fires(np.array([-3.0, -1.0, 0.5]), 1.0) == 1
    assert fires(np.array([-3.0, -1.0]), 0.5) is None


def test_the_record_names_the_measured_file(tmp_path):
    write_checkpoint(tmp_path / "c")
    report = convert(tmp_path / "c", tmp_path / "out.gguf", type="f16")
    write_record(tmp_path / "c", **measured(tmp_path / "out.gguf"))
    record = load_record(tmp_path / "c")
    assert record.calibrated_type == "f16"
    assert record.calibrated_source_sha256 == report.contract.source_sha256 is not None
    assert record.calibrated_reset_row_sha256 == report.contract.reset_row_sha256 is not None


def test_the_hold_back_shows_no_more_than_asked():
    drafts = [np.array([-9.0] * length + [9.0]) for length in (2, 4, 6, 20)]
    assert choose_hold(drafts, 0.0, 0.0) == 20
    assert choose_hold(drafts, 0.0, 0.05) == 19
    assert choose_hold([np.array([-9.0])], 0.0, 0.05) == 32
