"""The trial of a file in another process."""

import os

import pytest

from assistant.engine import probe as probe_module
from assistant.engine.options import LoadOptions
from assistant.engine.probe import probe
from assistant.engine.session import Session
from convert.errors import TakebackError
from convert.gguf_header import read_header
from tests.engine import tiny_models
from tests.engine.tiny_models import write_window_model


@pytest.fixture
def tried(monkeypatch, tmp_path):
    """Probe a file in a home of its own; returns whether a child was asked."""
    monkeypatch.setenv("TAKEBACK_HOME", str(tmp_path / "home"))
    asked = []
    run_child = probe_module.run_child
    monkeypatch.setattr(probe_module, "run_child", lambda *a, **k: asked.append(1) or run_child(*a, **k))

    def run(path) -> bool:
        asked.clear()
        probe(path, read_header(path))
        return bool(asked)

    return run


def test_a_sound_file_is_tried_once(tried, tmp_path) -> None:
    path = write_window_model(tmp_path / "tiny.gguf")
    assert tried(path)
    assert not tried(path)
    os.utime(path, (1, 1))
    assert tried(path)


def test_the_model_that_is_built_here_is_not_tried(tried, tmp_path) -> None:
    (tmp_path / "home" / "default-model").mkdir(parents=True)
    assert not tried(write_window_model(tmp_path / "home" / "default-model" / "m.gguf"))


def test_an_abort_is_an_error_and_not_the_end(tried, tmp_path) -> None:
    path = write_window_model(tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes().replace(b"<0x42>", b"<0x41>"))
    for _ in range(2):
        with pytest.raises(TakebackError, match=r"tiny\.gguf") as raised:
            tried(path)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("template", "limit"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", ("_SECONDS", 3)),
        ("{{ messages[0].content }}{{ 'x' * 3000000000 }}", ("_MEMORY", 2 << 30)),
    ],
)
def test_a_template_is_bounded(tried, tmp_path, monkeypatch, template, limit) -> None:
    monkeypatch.setattr(probe_module, *limit)
    assert tried(write_window_model(tmp_path / "sound.gguf"))
    monkeypatch.setattr(tiny_models, "CHAT", template)
    with pytest.raises(TakebackError):
        Session.open(write_window_model(tmp_path / "tiny.gguf"), LoadOptions(ctx=64, threads=1))
