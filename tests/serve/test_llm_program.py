"""`llm`, a program that knows nothing of us: it is told where we are, as it is told of any such server."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.serve.conftest import MODEL

pytestmark = pytest.mark.slow  # it takes seconds to load
if not importlib.util.find_spec("llm"):
    pytest.skip("pip install llm", allow_module_level=True)

TOKEN = "0123456789abcdef"


@pytest.fixture
def llm(served, tmp_path):
    """Runs it against a server, with an empty home of its own; gives its output."""
    with served(token=TOKEN, parallel=2, keep_alive=0.05) as server:
        known = {"model_id": "local", "model_name": MODEL, "api_base": f"http://{server.address}/v1"}
        known |= {"api_key_name": "takeback"}
        (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([known]))  # JSON is YAML too
        (tmp_path / "keys.json").write_text(json.dumps({"takeback": TOKEN}))
        environment = {**os.environ, "LLM_USER_PATH": str(tmp_path)}

        def run(*words, text="the sea", fails=False):
            command = [sys.executable, "-m", "llm", *words]
            done = subprocess.run(
                command, input=text, env=environment, capture_output=True, text=True, timeout=300, check=False
            )
            assert bool(done.returncode) == fails, done.stderr
            return done.stderr if fails else done.stdout

        yield run


def test_a_reply_whole_and_streamed_and_the_next_turn(llm, says, takes_back_at):
    says("a € sea".encode())
    takes_back_at(4)
    assert llm("-m", "local", "--no-stream") == "a € sea\n"
    assert llm("-m", "local") == "a € sea\n"
    assert llm("-c", "-m", "local", text="and then") == "a € sea\n"
    logged = json.loads(llm("logs", "--json"))
    assert [turn["response"] for turn in logged] == ["a € sea"] * 3


def test_options_reach_the_model(llm, says):
    says(b"abcdef")
    assert llm("-m", "local", "-o", "max_tokens", "3", "-o", "temperature", "0") == "abc\n"
    assert llm("-m", "local", "-s", "be short", "-o", "stop", "d") == "abc\n"


def test_a_refusal_is_read_by_its_user(llm, says):
    says(b"a")
    told = llm("-m", "local", "-o", "logit_bias", '{"1": 5}', fails=True)
    assert "logit_bias is supported only as {}" in told
