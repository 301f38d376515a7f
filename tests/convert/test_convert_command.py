import argparse
import json

import pytest

from convert.cli import add_arguments_convert, add_arguments_verify, run_convert, run_verify


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


def test_help_teaches_with_examples():
    for add in (add_arguments_convert, add_arguments_verify):
        parser = argparse.ArgumentParser()
        add(parser)
        assert "examples:" in parser.format_help()
