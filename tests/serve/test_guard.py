"""Who is refused before anything of a request is read, and what is never said."""

import json
import re
import socket
import time

import pytest

import assistant.serve.app as app_module
import assistant.serve.guard as guard_module
from assistant.serve.refused import Refused
from assistant.serve.server import TimedProtocol
from convert.errors import TakebackError
from tests.serve.conftest import QUESTION

TOKEN = "0123456789abcdef"
PATH = "/v1/chat/completions"
ASK = {"messages": QUESTION, "max_tokens": 2}


def refused(answer, status):
    """Whether an answer is this refusal, in OpenAI's shape, and allows no other origin anything."""
    found, headers, body = answer
    assert found == status, body
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert not any(name.lower().startswith("access-control") for name in headers)
    return True


def test_hosts(served):
    with served(hosts=("Chat.example",)) as client:
        port = client.address.split(":")[1]
        for host in (
            f"127.0.0.1:{port}",
            f"localhost:{port}",
            f"LOCALHOST:{port}",
            f"[::1]:{port}",
            "chat.example",
        ):
            assert client.ask("POST", PATH, ASK, Host=host)[0] == 200, host
        for host in (
            f"evil.example:{port}",
            "127.0.0.1",
            "localhost:1",
            f"chat.example:{port}",
            "",
            f"127.1:{port}",
        ):
            assert refused(client.ask("POST", PATH, ASK, Host=host), 403), host
            assert refused(client.ask("GET", "/health", Host=host), 403)


def test_the_other_loopback(served):
    try:
        with served(host="::1") as client:
            port = client.address.rsplit(":", 1)[1]
            assert client.address == f"[::1]:{port}"
            assert client.ask("GET", "/health", Host=f"localhost:{port}")[0] == 200
            assert client.ask("GET", "/health")[0] == 200
            assert refused(client.ask("GET", "/health", Host=f"[::2]:{port}"), 403)
    except TakebackError:
        pytest.skip("this machine has no IPv6")


@pytest.mark.parametrize("origin", ["null", "https://evil.example", "http://localhost", ""])
def test_any_origin_is_refused(served, origin):
    with served() as client:
        assert refused(client.ask("POST", PATH, ASK, Origin=origin), 403)
        assert refused(client.ask("OPTIONS", PATH, Origin=origin), 403)
        assert refused(client.ask("GET", "/v1/models", Origin=f"http://{client.address}"), 403)


def test_no_other_origin_is_allowed_anything(served):
    with served() as client:
        _, headers, _ = client.ask("POST", PATH, ASK)
        assert not any(name.lower().startswith("access-control") for name in headers)
        assert refused(client.ask("OPTIONS", PATH), 405)


def test_only_json(served):
    with served() as client:
        forms = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None)
        likenesses = ("application/jsonx", "text/plain;application/json", "application/json; charset=utf-16")
        for kind in (*forms, *likenesses):
            assert refused(client.ask("POST", PATH, ASK, **{"Content-Type": kind}), 415), kind
        for kind in ("application/json", 'Application/JSON; charset="UTF-8"'):
            assert client.ask("POST", PATH, ASK, **{"Content-Type": kind})[0] == 200


def test_a_token_is_asked_for_everywhere(served, monkeypatch):
    compared = []
    real = guard_module.hmac.compare_digest
    monkeypatch.setattr(
        guard_module.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b)
    )
    with served(token=TOKEN) as client:
        paths = (("POST", PATH), ("GET", "/v1/models"), ("GET", "/health"), ("GET", "/none"))
        wrong = (None, "", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", "Bearer é")
        for given in wrong:
            for method, path in paths:
                body = ASK if method == "POST" else None
                answer = client.ask(method, path, body, Authorization=given)
                assert refused(answer, 401)
                assert answer[1]["www-authenticate"] == "Bearer"
        # Each is compared whole, as a digest: neither its beginning nor its length makes a difference.
        assert len(compared) == 4 * len(wrong)
        assert all(len(a) == len(b) == 32 for a, b in compared)
        assert client.ask("POST", PATH, ASK, Authorization=f"Bearer {TOKEN}")[0] == 200
        assert client.ask("GET", "/health", Authorization=f"bearer {TOKEN}")[0] == 200


def test_bodies_are_bounded(served, monkeypatch):
    monkeypatch.setattr(app_module, "MAX_BODY", 1 << 20)
    with served() as client:
        body = json.dumps({**ASK, "padding": "x" * (1 << 20)}).encode()
        assert refused(client.ask("POST", PATH, body), 413)
        with connect(client) as connection:  # one that does not say how long it will be
            send_head(connection, client, "Transfer-Encoding: chunked")
            chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
            for _ in range(16):
                connection.sendall(chunk)
            # One byte too many, and nothing behind it that would find no reader.
            connection.sendall(b"1\r\n \r\n")
            assert b" 413 " in connection.recv(100)


def test_a_body_that_does_not_come(served):
    with served(body_time=0.2) as client, connect(client) as connection:
        send_head(connection, client, "Content-Length: 100")
        connection.sendall(b"{")
        assert b" 408 " in connection.recv(100)


@pytest.mark.parametrize("begun", [b"", b"GET /health HTTP/1.1\r\n"])
def test_a_head_that_does_not_come(served, says, monkeypatch, begun):
    """Nor one that comes byte by byte. But a reply may take as long as it takes, and others are answered."""
    says(b"slow", pause=0.2)
    monkeypatch.setattr(TimedProtocol, "head_time", 0.5)
    with served(keep_alive=0.05) as client, connect(client) as connection:
        running, one = client.begin(stream=True)
        connection.sendall(begun)
        ended = time.monotonic() + 30
        connection.settimeout(0.1)
        while True:
            assert time.monotonic() < ended
            try:
                if begun:
                    connection.sendall(b"x")
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert b"slow" in one.read()
        running.close()
        # The same holds for a second request of a connection, and one that is answered stays.
        with connect(client) as kept:
            for _ in range(2):
                kept.sendall(f"GET /health HTTP/1.1\r\nHost: {client.address}\r\n\r\n".encode())
                answer = b""
                while not answer.endswith(b"}"):
                    answer += kept.recv(1000)
                assert answer.startswith(b"HTTP/1.1 200")
                time.sleep(0.7)
            kept.sendall(b"GET")
            kept.settimeout(30)
            assert kept.recv(1) == b""


def test_parallel_requests_are_bounded(served, says, monkeypatch):
    monkeypatch.setattr(guard_module, "MAX_PARALLEL", 1)
    says(b"abc", pause=0.2)
    with served(keep_alive=0.05) as client:
        running, one = client.open("POST", PATH, {**ASK, "stream": True})
        answer = client.ask("GET", "/health")
        assert refused(answer, 503) and answer[1]["retry-after"] == "1"
        one.read(), running.close()
        assert client.ask("GET", "/health")[0] == 200


def test_a_character_may_come_in_two_parts(served, says):
    says("né".encode())
    with served() as client, connect(client) as connection:
        body = json.dumps({"messages": [{"role": "user", "content": "€🌊"}]}, ensure_ascii=False).encode()
        send_head(connection, client, f"Content-Length: {len(body)}")
        half = body.index("€".encode()) + 1
        connection.sendall(body[:half])
        connection.sendall(body[half:])
        with connection.makefile("rb") as answer:
            assert "né" in next(line.decode() for line in answer if line.startswith(b"{"))


def test_a_defect_is_told_without_a_word_of_the_request(served, monkeypatch, capfd):
    def fail(*_arguments, **_options):
        raise ValueError("the prompt was: SECRET")

    monkeypatch.setattr(app_module, "parse_chat_request", fail)
    with served() as client:
        answer = client.ask("POST", PATH, ASK)
        assert refused(answer, 500) and "SECRET" not in str(answer[2])
    told = capfd.readouterr().err
    assert re.search(r"a request failed: ValueError at test_guard\.py:\d+\n", told) and "SECRET" not in told


def test_a_model_that_fails_does_not_end_the_server(served, says, monkeypatch, capfd):
    says(b"abc")
    with served() as client:
        good = client.worker._seats[0].model.generate
        monkeypatch.setattr(client.worker._seats[0].model, "generate", lambda *_: failing())
        assert refused(client.ask("POST", PATH, ASK), 500)
        monkeypatch.setattr(client.worker._seats[0].model, "generate", good)
        assert client.ask("POST", PATH, ASK)[0] == 200
    assert "SECRET" not in capfd.readouterr().err


def failing():
    raise ValueError("SECRET")
    yield


def test_nothing_of_a_request_is_written(served, says, capfd):
    says(b"REPLY")
    with served() as client:
        client.ask("POST", PATH, {"messages": [{"role": "user", "content": "PROMPT"}]})
        client.ask("POST", PATH, b"PROMPT {")
        client.ask("GET", "/PROMPT")
    assert capfd.readouterr() == ("", "")


def connect(client):
    host, port = client.address.split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def send_head(connection, client, length):
    head = f"POST {PATH} HTTP/1.1\r\nHost: {client.address}\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
    connection.sendall(head.encode())


def test_a_refusal_is_one_line():
    assert Refused(400, "a\nb\x1b[2J").message == "a b\ufffd[2J"
