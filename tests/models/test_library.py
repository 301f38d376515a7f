"""`takeback models`: what is on this machine."""

import argparse
import json
from pathlib import Path

import pytest

from assistant.models import library
from assistant.models.bundled import base_model
from assistant.models.cli import add_arguments_models, run_models
from convert.errors import TakebackError
from train.calibrate import curve_file


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("TAKEBACK_HOME", str(tmp_path / "home"))
    return tmp_path


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments_models(parser)
    return run_models(parser.parse_args(words))


def test_a_file_is_added_found_shown_and_removed(home: Path, capsys) -> None:
    assert run() == 0
    assert capsys.readouterr().out.split() == ["default", "built", "in"]
    assert run("add", str(base_model())) == 0
    name = base_model().stem
    assert [model.name for model in library.models()] == [name]
    assert library.resolve(name) == library.resolve(f"{name}.gguf") == library.models()[0].path
    assert run("list") == run("show", name) == 0
    assert "takes back    no" in capsys.readouterr().out
    with pytest.raises(TakebackError, match="already"):
        library.add(base_model())
    assert run("remove", name) == 0
    assert library.models() == []
    assert base_model().is_file()


@pytest.mark.parametrize(
    ("told", "goes"),
    [
        (None, True),
        (b'{"file": "another.gguf"}', False),
        (b"[1]", False),
        (b"no json \xff", False),
        (b"[" * 100_000, False),
    ],
)
def test_a_removed_models_calibration_goes_with_it_and_nothing_else(told: bytes | None, goes: bool) -> None:
    model = library.add(base_model())
    record = curve_file(model.path)
    record.write_bytes(told or json.dumps({"schema_version": 1, "file": model.path.name}).encode())
    other = model.path.with_name("other.gguf.calibration.json")
    other.write_text("{}")
    library.remove(model.name)
    assert record.exists() != goes
    assert other.exists()


def test_a_copy_is_made_where_no_link_can_be(monkeypatch) -> None:
    def no_link(self, target) -> None:
        raise OSError("another file system")

    monkeypatch.setattr(Path, "hardlink_to", no_link)
    added = library.add(base_model())
    assert added.size == base_model().stat().st_size
    assert [path.name for path in added.path.parent.iterdir()] == [added.path.name]


def test_a_path_is_a_model(home: Path) -> None:
    assert library.resolve(str(base_model())) == base_model()


def test_an_unknown_name_lists_those_that_there_are() -> None:
    with pytest.raises(TakebackError, match="no model or file named 'x'; there is default; add one with"):
        library.resolve("x")


@pytest.mark.parametrize("content", [b"", b"not a model", b"GGUF\x03\x00\x00\x00"])
def test_what_is_no_sound_model_is_not_added(home: Path, content: bytes) -> None:
    file = home / "bad.gguf"
    file.write_bytes(content)
    with pytest.raises(TakebackError, match=r"bad\.gguf"):
        library.add(file)
    assert library.models() == []


def test_the_built_in_name_is_kept_free(home: Path) -> None:
    file = home / "default.gguf"
    file.hardlink_to(base_model()) if file.parent.stat().st_dev == base_model().stat().st_dev else (
        file.write_bytes(base_model().read_bytes())
    )
    with pytest.raises(TakebackError, match="built-in"):
        library.add(file)
