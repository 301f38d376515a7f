"""The comparison with other programs: each in its own process, at the same prompts, on a tiny model."""

import pytest

from convert.errors import TakebackError
from evals import peers
from evals.speed.peers import measure
from tests.engine.tiny_models import write_dense_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_dense_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


def test_each_peer_is_held_against_the_leanest_loop(model) -> None:
    names = ["llama.cpp", "takeback", "Llama.generate"]
    found = measure(model, threads=1, lengths=(32, 64), names=names)
    assert [(row["peer"], row["prompt_tokens"]) for row in found["rows"]] == [
        (name, length) for length in (32, 64) for name in names
    ]
    for row in found["rows"]:
        assert row["reset_ms"] > 0 and row["step_ms"] > 0 and row["follow_up_ms"] > 0
        assert row["ratio"] == 1 or row["peer"] != "llama.cpp"
    assert found["ratio"] == max(row["ratio"] for row in found["rows"] if row["peer"] == "takeback")


def test_a_peer_that_fails_is_left_out_and_named(model, monkeypatch) -> None:
    monkeypatch.setitem(peers.PEERS, "broken", ("llama_cpp", None))
    found = measure(model, threads=1, lengths=(32,), names=["llama.cpp", "takeback", "broken"])
    assert "broken failed" in found["failed"] and len(found["rows"]) == 2
    with pytest.raises(TakebackError, match=r"llama\.cpp failed"):
        measure(model.with_name("none.gguf"), threads=1, lengths=(32,))
