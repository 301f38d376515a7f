"""The recipe in docs/ against a real llama-server: it takes back where our own engine does."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.engine.events import Done, Reset
from assistant.engine.message import Message
from assistant.engine.options import GenerateOptions, LoadOptions
from assistant.engine.session import Session

pytestmark = pytest.mark.slow
if not importlib.util.find_spec("xllamacpp"):
    pytest.skip("pip install xllamacpp: it holds llama-server", allow_module_level=True)

RECIPE = Path(__file__).parents[2] / "docs" / "in_front_of_llama_server.py"
SERVER = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel, params.warmup = sys.argv[1], 512, 1, False
params.cpuparams.n_threads = 1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""
QUESTION = [Message("user", "the sea")]


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("in_front_of_llama_server", RECIPE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def address(tiny_model):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", SERVER, str(tiny_model)], text=True, **pipes) as server:
        try:
            line = server.stdout.readline()
            while not line.startswith("http"):
                assert line, "llama-server did not start"
                line = server.stdout.readline()
            yield line.strip()
        finally:
            server.kill()


@pytest.fixture(scope="module")
def session(tiny_model):
    with Session.open(tiny_model, LoadOptions(ctx=512, threads=1)) as session:
        yield session


def what_happens(events):
    """Where a reply is taken back, how it ends and what it says."""
    events = list(events)
    done = events[-1]
    assert isinstance(done, Done)
    return [e.discarded_tokens for e in events if isinstance(e, Reset)], done.reason, done.text


def test_the_same_resets_as_in_our_engine(recipe, address, session):
    prompt = session.template.ids(QUESTION)
    seen = set()
    for bias in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0):
        options = GenerateOptions(
            temperature=0, repeat_penalty=1, seed=1, max_tokens=40, max_resets=1, reset_bias=bias,
            after_reset="rewind", hold_back=0,
        )  # fmt: skip
        contract, vocabulary = session.info.contract, session.vocabulary
        size = vocabulary.size
        theirs = recipe.write(address, prompt, contract, vocabulary, options, alternatives=size)
        found = what_happens(theirs)
        assert found == what_happens(session.generate(QUESTION, options)), bias
        seen.add((tuple(found[0]), found[1]))
    # Else the test would have shown little: none, one and too many, and drafts of several tokens.
    assert {len(resets) for resets, _ in seen} >= {0, 2} and any(
        max(resets, default=0) > 1 for resets, _ in seen
    )


def test_the_rule_on_log_probabilities(recipe):
    assert recipe.fires({7: -1.0, 8: -1.0}, 7, 0.0)
    assert not recipe.fires({7: -1.1, 8: -1.0}, 7, 0.0)
    assert recipe.fires({7: -1.5, 8: -1.0}, 7, 0.5)
    assert not recipe.fires({8: -1.0}, 7, 30.0)
