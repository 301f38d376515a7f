"""What the handles on llama.cpp see to: its log, file names, and the tokens that a file forbids."""

import os
import signal
import sys
from pathlib import Path

import pytest

from assistant.engine import libllama
from assistant.engine.libllama import Context, Model
from assistant.engine.options import GenerateOptions, LoadOptions
from assistant.engine.sampler import Sampler
from assistant.engine.session import Session
from tests.engine.tiny_models import write_window_model


def test_only_errors_explain_a_failure() -> None:
    libllama._log.clear()
    libllama._remember(3, b"a warning", None)
    libllama._remember(4, b"an error\n", None)
    assert libllama.last_error() == " (an error)"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such file names")
def test_a_file_name_may_be_any_bytes(tmp_path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.gguf"))
    write_window_model(tmp_path / "tiny.gguf").rename(path)
    assert Model(path).n_vocab > 256


def test_suppressed_tokens_are_never_sampled(tmp_path) -> None:
    def first(path) -> tuple[int, int, tuple[int, ...]]:
        with Session.open(path, LoadOptions(ctx=256, threads=1)) as tiny:
            for _ in tiny.memory.read(tiny.vocabulary.tokenize("the sea")):
                pass
            likeliest = int(tiny.context.logits().argmax())
            sampler = Sampler(tiny.context, GenerateOptions(temperature=0, repeat_penalty=1), 1)
            return likeliest, sampler.sample(), tiny.model.suppressed

    likeliest, sampled, suppressed = first(write_window_model(tmp_path / "plain.gguf"))
    assert (sampled, suppressed) == (likeliest, ())
    forbidden = write_window_model(tmp_path / "forbids.gguf", suppressed=(likeliest, 10**6))
    again, sampled, suppressed = first(forbidden)
    assert again == likeliest != sampled
    assert likeliest in suppressed


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such signals")
@pytest.mark.parametrize("load", ["model", "context"])
def test_a_signal_that_comes_while_llama_cpp_calls_back_ends_the_loading(tmp_path, monkeypatch, load) -> None:
    class Stop(BaseException):
        pass

    class ComesOnce:
        """Stands for the level of errors, with which a line's level is compared in the callback for the log."""

        come = 0

        def __eq__(self, level) -> bool:
            self.come += 1
            if self.come == 1:
                signal.raise_signal(signal.SIGTERM)
            return False

        __hash__ = None

    def stop(_number, _frame) -> None:
        raise Stop

    path = write_window_model(tmp_path / "tiny.gguf")
    model = Model(path) if load == "context" else None
    monkeypatch.setattr(libllama, "_ERROR_LEVEL", comes := ComesOnce())
    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(Stop):
            Context(model, n_ctx=64, threads=1) if model else Model(path)
        assert signal.getsignal(signal.SIGTERM) is stop and comes.come
    finally:
        signal.signal(signal.SIGTERM, before)
