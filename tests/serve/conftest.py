"""A server on a free port of this machine, with a tiny model whose words are those that a test gives it."""

import http.client
import json
import threading
import time
from contextlib import contextmanager, suppress

import pytest

import assistant.engine.session as session_module
from assistant.engine.generate import ResetRule
from assistant.engine.options import GenerateOptions, LoadOptions
from assistant.engine.parallel import open_sessions
from assistant.engine.sampler import Sampler
from assistant.serve.app import Serving, build_app
from assistant.serve.server import Server, address_of, listen
from assistant.serve.worker import Worker
from tests.engine.tiny_models import write_window_model

MODEL = "tiny"
END = 2
QUESTION = [{"role": "user", "content": "the sea"}]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    path = write_window_model(tmp_path_factory.mktemp("models") / "tiny.gguf")
    # As templates should, it then shows a past reply as it was written: right after the colon.
    path.write_bytes(path.read_bytes().replace(b": {{ m.content }}", b":{{  m.content }}"))
    return path


@pytest.fixture
def says(monkeypatch, takes_back_at):
    """Let the model say these bytes in each reply and after each reset, one a token, with a pause in seconds.

    It takes nothing back, unless the test then says where.

    Returns a list that grows by each token sampled.
    """

    def install(text, *, pause=0.0):
        sampled = []
        again = Sampler.restart

        def restart(self, *arguments, **options):
            again(self, *arguments, **options)
            self.script = iter([*(3 + byte for byte in text), END])

        def sample(self):
            time.sleep(pause)
            sampled.append(next(self.script))
            return sampled[-1]

        takes_back_at()
        monkeypatch.setattr(Sampler, "restart", restart)
        monkeypatch.setattr(Sampler, "sample", sample)
        return sampled

    return install


@pytest.fixture
def takes_back_at(monkeypatch):
    """Let the reset rule fire before these tokens of each reply, counted from 0 through all its drafts."""

    def install(*places):
        class Scripted(ResetRule):
            def fires(self, model):
                super().fires(model)  # masks the token, as always
                place = vars(self).get("checks", 0)
                vars(self)["checks"] = place + 1
                return place in places

        monkeypatch.setattr(session_module, "ResetRule", Scripted)

    return install


class Client:
    """Plain HTTP to a server, with the headers that it wants unless a test says otherwise."""

    def __init__(self, address, worker):
        self.address = address
        self.worker = worker

    def open(self, method, path, body=None, **headers):
        """Send a request; returns the connection and the answer, whose body is not read yet."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        if body is not None:
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers = {"Content-Type": "application/json", **headers}
        connection.putrequest(method, path, skip_host="Host" in headers)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        for name, value in headers.items():
            if value is not None:
                connection.putheader(name, value)
        with suppress(
            BrokenPipeError, ConnectionResetError
        ):  # it may answer, and hang up, before all is sent
            connection.endheaders(body)
        return connection, connection.getresponse()

    def ask(self, method, path, body=None, **headers):
        """Status, headers and body of an answer; the body as JSON where it is."""
        connection, answer = self.open(method, path, body, **headers)
        try:
            text = answer.read().decode()
        finally:
            connection.close()
        kind = answer.headers.get("content-type", "")
        return answer.status, answer.headers, json.loads(text) if kind == "application/json" else text

    def chat(self, **fields):
        return self.ask("POST", "/v1/chat/completions", {"messages": QUESTION, **fields})

    def begin(self, **fields):
        return self.open("POST", "/v1/chat/completions", {"messages": QUESTION, **fields})

    def stream(self, **fields):
        """The chunks of a stream that ended in order, and its comments."""
        status, headers, text = self.chat(stream=True, **fields)
        assert status == 200 and headers["content-type"].startswith("text/event-stream"), text
        parts = text.removesuffix("\n\n").split("\n\n")
        comments = [part for part in parts if part.startswith(":")]
        events = [part.removeprefix("data: ") for part in parts if not part.startswith(":")]
        assert events.pop() == "[DONE]"
        return [json.loads(event) for event in events], comments


@pytest.fixture
def served(tiny_model):
    """Serve the tiny model while a test runs: a context manager that gives a Client."""

    @contextmanager
    def run(*, host="127.0.0.1", queue=8, parallel=1, ctx=512, **serving):
        defaults = serving.pop("defaults", GenerateOptions(seed=1, max_tokens=64))
        with listen(host, 0) as bound:
            address = address_of(bound)
            sessions = open_sessions(tiny_model, LoadOptions(ctx=ctx, threads=1), count=parallel)
            worker = Worker(sessions, queue=queue)
            server = Server(build_app(worker, Serving(MODEL, defaults, **serving)), worker)
            worker.start()
            thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
            thread.start()
            try:
                while not server.started:
                    time.sleep(0.01)
                yield Client(address, worker)
            finally:
                server.should_exit = True
                thread.join(30)
                assert worker.join(30) and not thread.is_alive()

    return run


def wait_until(true, seconds=30.0):
    """Wait for something that another thread does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
