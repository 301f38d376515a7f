"""The measurement of conversion, on a checkpoint of a mebibyte."""

import pytest

from assistant.cli import main
from convert.convert import convert
from convert.errors import TakebackError
from convert.verify import verify
from evals import bench
from evals.speed import convert as speed


def test_conversion_is_held_against_a_copy_of_the_same_bytes(tmp_path):
    found = speed.measure(size=1 << 20, vocabulary=300, rounds=1, folder=tmp_path)
    assert [row["cache"] for row in found["rows"]] == ["cold", "warm"]
    assert all(row["convert_s"] > 0 and row["ratio"] > 0 for row in found["rows"])
    assert found["ratio"] == min(row["ratio"] for row in found["rows"])
    assert 0 < found["memory_mib"] < speed.MOST_MIB
    assert not list(tmp_path.iterdir())


def test_the_checkpoint_that_is_made_has_its_size_its_tokens_and_a_sound_reset_token(tmp_path):
    weights = speed.write_checkpoint(tmp_path / "made", 2 << 20, 700)
    assert 0.7 * (2 << 20) < weights.stat().st_size < 1.3 * (2 << 20)
    report = convert(tmp_path / "made", tmp_path / "out.gguf")
    assert report.contract.token_id == 699
    assert report.contract.source_sha256
    checks = verify(tmp_path / "out.gguf", tmp_path / "made")
    assert [check for check in checks if check.verdict == "fail"] == []


def test_more_tokens_than_fit_are_refused(tmp_path):
    with pytest.raises(TakebackError, match="256,000 tokens leave no room for a layer in 1,024 MiB"):
        speed.measure(vocabulary=256_000, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_room_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TakebackError, match="MiB of free space"):
        speed.measure(size=1 << 50, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_conversion_that_fails_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "_SPECIAL", ("<|begin|>", "<|end|>", "[RESET]", "<|undo|>"))
    with pytest.raises(TakebackError, match="look like a reset token"):
        speed.measure(size=1 << 20, vocabulary=300, rounds=1, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_bench_makes_it_only_where_it_is_named_and_then_without_a_model(monkeypatch, capsys):
    asked = []

    def measured(names, model, threads, progress):
        asked.append((list(names), model))
        return {}

    monkeypatch.setattr(bench, "measure", measured)
    monkeypatch.setattr("assistant.models.library.resolve", lambda name, progress: "a model")
    assert (
        main(["bench"])
        == main(["bench", "--only", "convert"])
        == main(["bench", "--only", "convert,reset"])
        == 0
    )
    (usual, model), apart, both = asked
    assert model == "a model"
    assert "convert" not in usual
    assert "decode" in usual
    assert apart == (["convert"], None)
    assert both == (["convert", "reset"], "a model")
