import argparse
import json

import pytest

from convert.cli import add_arguments_convert, add_arguments_verify, run_convert, run_verify
from convert.errors import TakebackError


@pytest.fixture
def run(capsys):
    def command(add, go, *words):
        parser = argparse.ArgumentParser()
        add(parser)
        status = go(parser.parse_args([str(word) for word in words]))
        return status, capsys.readouterr()

    return command


def test_convert_says_what_it_made(run, checkpoint, tmp_path):
    status, printed = run(
        add_arguments_convert, run_convert, checkpoint, tmp_path / "a.gguf", "--type", "Q8_0"
    )
    assert status == 0
    assert "q8_0" in printed.out
    assert "reset token [RESET]" in printed.out
    assert printed.err == ""


def test_convert_as_json(run, checkpoint, tmp_path):
    words = (checkpoint, tmp_path / "a.gguf", "--json", "--after-reset", "keep", "--protect-reset", "none")
    status, printed = run(add_arguments_convert, run_convert, *words)
    report = json.loads(printed.out)
    assert status == 0
    assert report["contract"]["after_reset"] == "keep"
    assert report["out"] == str(tmp_path / "a.gguf")


def test_verify_says_what_it_found(run, converted, checkpoint, tmp_path):
    status, printed = run(add_arguments_verify, run_verify, converted, "--against", checkpoint)
    assert status == 0
    assert printed.out.count("ok  ") == len(printed.out.splitlines()) - 1
    (tmp_path / "x.gguf").write_bytes(b"no")
    status, printed = run(add_arguments_verify, run_verify, tmp_path / "x.gguf", "--json")
    assert status == 1
    assert json.loads(printed.out)["checks"][0]["name"] == "file"


@pytest.mark.parametrize(
    "words",
    [("convert", "a", "b", "--type", "q9"), ("convert", "a", "b", "--protect-reset", "q2_k"),
     ("verify", "a", "--adapter", "b")],
)  # fmt: skip
def test_bad_usage_ends_with_2(words, capsys):
    from assistant.cli import main

    try:
        status = main(words)
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert words[-2] in capsys.readouterr().err


def test_a_cut_off_conversion_leaves_no_line_behind(run, tmp_path, checkpoint, monkeypatch):
    def fails(*_, progress, **__):
        progress("writing", 1, 100)
        raise TakebackError("the disk is full")

    monkeypatch.setattr("convert.convert.convert", fails)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    errors = []
    monkeypatch.setattr("sys.stderr.write", errors.append, raising=False)
    with pytest.raises(TakebackError):
        run(add_arguments_convert, run_convert, checkpoint, tmp_path / "a.gguf")
    assert "".join(errors).endswith("\r\x1b[K")


def test_help_teaches_with_examples():
    for add in (add_arguments_convert, add_arguments_verify):
        parser = argparse.ArgumentParser()
        add(parser)
        assert "examples:" in parser.format_help()
