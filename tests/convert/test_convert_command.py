import argparse
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

import convert.convert as convert_module
from convert.cli import add_arguments_convert, add_arguments_verify, run_convert, run_verify
from convert.convert import convert
from convert.errors import TakebackError
from convert.gguf_header import read_header
from convert.meter import Meter
from tests.convert.small_model import write_checkpoint


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


def test_a_name_is_written_and_is_the_source_s_without_one(run, checkpoint, tmp_path):
    def named(source, out, *words):
        assert run(add_arguments_convert, run_convert, source, tmp_path / out, *words)[0] == 0
        return read_header(tmp_path / out).metadata["general.name"]

    assert named(checkpoint, "a.gguf") == checkpoint.name
    assert named(checkpoint, "b.gguf", "--name", " Mine  [b]\x1b ") == "Mine [b]\ufffd"
    assert named(tmp_path / "b.gguf", "c.gguf") == "Mine [b]\ufffd"
    assert named(tmp_path / "b.gguf", "d.gguf", "--name", "Yours") == "Yours"


@pytest.mark.parametrize("name", ["", " \t"])
def test_a_name_that_cannot_be_read_is_refused(run, checkpoint, tmp_path, capsys, name):
    with pytest.raises(SystemExit):
        run(add_arguments_convert, run_convert, checkpoint, tmp_path / "a.gguf", "--name", name)
    assert "--name: give a name that can be read" in capsys.readouterr().err


def test_verify_says_what_it_found(run, converted, checkpoint, tmp_path):
    status, printed = run(
        add_arguments_verify, run_verify, converted, "--against", checkpoint, "--no-numbers"
    )
    assert status == 0
    assert printed.out.count("ok    ") == len(printed.out.splitlines()) - 1
    assert {line.split()[1] for line in printed.out.splitlines()[:-1]} == {"structure", "tokenizer"}
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


def test_progress_says_bytes_and_the_time_left(capsys, monkeypatch):
    meter, now = Meter(), [100.0]
    monkeypatch.setattr("convert.meter.time.monotonic", lambda: now[0])
    meter.show("writing", 0, 8 << 20)
    now[0] += 10
    meter.show("writing", 1 << 20, 8 << 20)
    now[0] += 0.05
    meter.show("writing", 2 << 20, 8 << 20)  # too soon after the last
    meter.show("writing", 8 << 20, 8 << 20)
    meter.show("quantizing", 1, 4 << 20)
    shown = [line.removeprefix("\x1b[K") for line in capsys.readouterr().err.split("\r")]
    assert shown == [
        "",
        "writing:   0% of 8 MiB",
        "writing:  12% of 8 MiB, 1:10 left",
        "writing: 100% of 8 MiB\n",
        "quantizing:   0% of 4 MiB",
    ]


@pytest.mark.skipif(os.name != "posix", reason="signals to a process group")
@pytest.mark.parametrize("file_type", ["bf16", "q4_k_m"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(tmp_path, file_type, number):
    """Ctrl-C goes to the whole process group, as a terminal sends it: parent and quantizer."""
    write_checkpoint(tmp_path / "c")
    (tmp_path / "out").mkdir()
    words = ["convert", str(tmp_path / "c"), str(tmp_path / "out" / "m.gguf"), "--type", file_type]
    program = (
        "import sys, time, convert.convert as c; from assistant.cli import main\n"
        f"name = {'write_gguf' if file_type == 'bf16' else 'quantize'!r}\n"
        "real = getattr(c, name)\n"
        "stop = lambda *step: (print('at', flush=True), time.sleep(30))\n"
        "setattr(c, name, lambda *given: real(*given[:-1], stop))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as child:
        assert child.stdout.readline() == b"at\n"
        assert list((tmp_path / "out").iterdir())
        if number == signal.SIGINT:
            os.killpg(child.pid, number)
        else:
            child.send_signal(number)
        _, said = child.communicate(timeout=60)
    assert child.returncode == 128 + number
    assert b"Traceback" not in said
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("file_type", ["bf16", "q4_k_m"])
def test_a_full_disk_is_one_line(tmp_path, checkpoint, file_type, monkeypatch):
    """Before the start where it can be seen, and while writing where it cannot."""
    tiny = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr("convert.export.shutil.disk_usage", lambda path: tiny)
        with pytest.raises(TakebackError, match="of free space and has 1 MiB; make room"):
            convert(checkpoint, tmp_path / "a.gguf", type=file_type)
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    place = "write_gguf" if file_type == "bf16" else "quantize"
    real = getattr(convert_module, place)

    def limited(*given):  # a limit on a file's size fails as a full disk does
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
        monkeypatch.setattr("shutil.disk_usage", lambda path: tiny)
        return real(*given)

    monkeypatch.setattr(convert_module, place, limited)
    kept = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(TakebackError) as raised:
            convert(checkpoint, tmp_path / "a.gguf", type=file_type)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, kept)
    said = str(raised.value)
    assert "\n" not in said
    assert "File too large" in said if file_type == "bf16" else "the disk is full" in said
    assert not list(tmp_path.iterdir())
