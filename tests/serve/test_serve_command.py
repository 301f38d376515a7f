"""`takeback serve` as a user runs it: in a process of its own."""

import argparse
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.serve.cli import add_arguments_serve
from assistant.serve.guard import MAX_PARALLEL
from assistant.serve.serve import own_names, read_token
from assistant.serve.server import listen
from assistant.usage import UsageError
from convert.errors import TakebackError

TOKEN = "0123456789abcdef"


@pytest.fixture
def command(tiny_model, takeback_home):
    environment = {**os.environ, "TAKEBACK_HOME": takeback_home, "TAKEBACK_THREADS": "1"}
    environment.pop("TAKEBACK_TOKEN", None)

    def build(*words, **variables):
        arguments = [sys.executable, "-m", "assistant.cli", "serve", "--model", str(tiny_model), *words]
        return {"args": arguments, "env": {**environment, **variables}, "text": True}

    return build


def fails(command, *words, **variables):
    done = subprocess.run(
        **command(*words, **variables),
        capture_output=True,
        timeout=300,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal(command, number):
    with subprocess.Popen(**command("--port", "0"), stderr=subprocess.PIPE) as server:
        try:
            told = until_signal(server, number)
        finally:
            server.kill()  # does nothing to one that has ended
    assert (told, server.returncode) == ("", 0)


def until_signal(server, number):
    """Ask for a stream, and send the signal while it is written; returns what the server still said."""
    line = server.stderr.readline()
    while "answers for tiny" not in line:
        assert line, server.wait(10)
        line = server.stderr.readline()
    address = re.search(r"http://([0-9.:]+)/v1 ", line)[1]
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        body = json.dumps({"messages": [{"role": "user", "content": "PROMPT"}], "stream": True})
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200 and answer.readline().startswith(b"data: ")
        server.send_signal(number)
        told = server.stderr.read()
        server.wait(30)
        rest = answer.read()
        assert b"shutting down" in rest or rest.endswith(b"[DONE]\n\n")  # cut off, or just done
        return told
    finally:
        connection.close()


def test_other_machines_need_a_token(command, tmp_path):
    status, error = fails(command, "--host", "0.0.0.0", "--port", "0")
    assert status == 2 and "needs a token" in error
    status, error = fails(command, "--host", "0.0.0.0", "--port", "0", TAKEBACK_TOKEN="short")
    assert status == 2 and "at least 16" in error
    status, error = fails(command, "--token-file", str(tmp_path / "none"))
    assert status == 2 and "none" in error


def test_a_port_that_is_taken(command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, error = fails(command, "--port", str(taken.getsockname()[1]))
    assert status == 1 and "choose another --port" in error


def test_where_a_token_comes_from(tmp_path, monkeypatch, capfd):
    monkeypatch.delenv("TAKEBACK_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("TAKEBACK_TOKEN", TOKEN)
    assert read_token(None) == TOKEN
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}-of-the-file\n")
    file.chmod(0o600)
    assert read_token(file) == f"{TOKEN}-of-the-file"
    assert capfd.readouterr().err == ""
    file.chmod(0o644)
    assert read_token(file) and "chmod 600" in capfd.readouterr().err


@pytest.mark.parametrize(
    "text",
    ["", "\n", "short", f"{TOKEN}\n{TOKEN}", "p\u00e4ssw\u00f6rd-p\u00e4ssw\u00f6rd", f"{TOKEN} {TOKEN}"],
)
def test_what_is_no_token(tmp_path, text):
    file: Path = tmp_path / "token"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(UsageError, match="16 letters"):
        read_token(file)


def test_a_wildcard_is_no_name_of_ours():
    with listen("0.0.0.0", 0) as any_address, listen("localhost", 0) as loopback:
        assert own_names("0.0.0.0", any_address) == ()
        assert own_names("box", loopback) == (f"box:{loopback.getsockname()[1]}",)
    with pytest.raises(TakebackError, match="no such address"):
        listen("no.such.host.invalid", 0)


def test_a_queue_is_no_longer_than_the_requests_that_are_let_in(capsys):
    parser = argparse.ArgumentParser()
    add_arguments_serve(parser)
    most = parser.parse_args(["--queue", "60", "--parallel", "16"])
    assert most.parallel + most.queue < MAX_PARALLEL  # and somebody may still ask for the health
    for words, message in (
        (["--queue", "61"], "from 0 to 60, not 61"),
        (["--parallel", "17"], "from 1 to 16"),
    ):
        with pytest.raises(SystemExit):
            parser.parse_args(words)
        assert message in capsys.readouterr().err
