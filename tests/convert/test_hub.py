"""Fetching from the hub, against a server on this machine that speaks its protocol."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from convert.convert import convert
from convert.errors import TakebackError
from convert.gguf_header import read_header
from convert.hub import hub_id, local
from tests.convert.hub_server import COMMIT, serving
from tests.convert.small_model import write_adapter, write_checkpoint, write_record

REPO = "someone/small-model"


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    write_checkpoint(folder, shards=2)
    write_record(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(tmp_path, monkeypatch, sharded):
    with serving() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", served.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(
            "huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path / "cache"), raising=False
        )
        monkeypatch.chdir(tmp_path)
        noise = {
            "README.md": b"#",
            "pytorch_model.bin": b"x" * 9,
            "consolidated.safetensors": b"y",
            "run.py": b"z",
        }
        served.files[REPO] = sharded | noise
        yield served


def fetched(hub):
    return {
        path.rpartition("/")[2] for command, path, _ in hub.asked if command == "GET" and "resolve" in path
    }


def test_what_is_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert hub_id("org/name") == ("org/name", None)
    assert hub_id("org/name@v1.0") == ("org/name", "v1.0")
    assert hub_id("hf://here/name") == ("here/name", None)
    for path in (
        "here/name",
        "here",
        "/org/name",
        "./org/name",
        "../org/name",
        "a/b/c",
        "org/..",
        "model.gguf",
    ):
        assert hub_id(path) is None, path


def test_only_what_is_converted_is_fetched(hub, tmp_path, sharded):
    steps = []
    folder = local(REPO, progress=lambda *step: steps.append(step))
    assert fetched(hub) == set(sharded)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == sharded
    assert {what for what, _, _ in steps} == {"fetching"}
    assert (
        steps[-1][1]
        == steps[-1][2]
        == sum(len(raw) for name, raw in sharded.items() if name.endswith("safetensors"))
    )
    assert convert(folder, tmp_path / "out.gguf").contract.token == "[RESET]"
    assert read_header(tmp_path / "out.gguf").metadata["general.name"] == "small-model"
    hub.asked.clear()
    assert local(REPO) == folder
    assert not fetched(hub)


def test_an_adapter_is_fetched_as_one(hub, tmp_path):
    write_adapter(tmp_path / "a", 300)
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    hub.files["someone/adapter"] = files
    folder = local("someone/adapter", adapter=True)
    assert {path.name for path in folder.iterdir()} == set(files)
    with pytest.raises(TakebackError, match=r"has no config\.json, so it is no model"):
        local("someone/adapter")


def test_a_fetch_that_was_interrupted_goes_on(hub, sharded):
    def interrupt(what, done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local(REPO, progress=interrupt)
    (part,) = Path(constants.HF_HUB_CACHE).rglob("*.takeback")
    have = part.stat().st_size
    assert have
    with part.open("ab") as file:
        file.truncate(have - 1000)
    hub.asked.clear()
    folder = local(REPO)
    assert f"bytes={have - 1000}-" in {wanted for _, _, wanted in hub.asked}
    assert (folder / "model-0.safetensors").read_bytes() == sharded["model-0.safetensors"]
    assert not list(Path(constants.HF_HUB_CACHE).rglob("*.takeback"))


def test_a_broken_connection_is_taken_up_again(hub, sharded):
    hub.cut["model-1.safetensors"] = 1000
    folder = local(REPO)
    assert (folder / "model-1.safetensors").read_bytes() == sharded["model-1.safetensors"]
    assert sum(asked[0] == "GET" and asked[1].endswith("model-1.safetensors") for asked in hub.asked) == 2


def test_another_content_than_stated_is_refused(hub):
    digest = hub.digest
    hub.digest = lambda raw, *, large: digest(raw + b"!", large=True) if large else digest(raw, large=False)
    with pytest.raises(TakebackError, match="does not have the size and hash that the hub states"):
        local(REPO)
    assert not list(Path(constants.HF_HUB_CACHE).rglob("*.takeback"))


def test_a_damaged_cache_is_found(hub):
    path = local(REPO) / "model-0.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.resolve().write_bytes(raw)
    with pytest.raises(TakebackError, match="damaged"):
        local(REPO, offline=True)
    with pytest.raises(TakebackError, match="damaged and is removed"):
        local(REPO)
    local(REPO)


def test_offline_uses_what_is_there(hub, monkeypatch):
    with pytest.raises(TakebackError, match="was not fetched before"):
        local(REPO, offline=True)
    folder = local(REPO)
    hub.asked.clear()
    assert local(REPO, offline=True) == folder
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert local(REPO) == folder
    assert not hub.asked
    (folder / "model-1.safetensors").unlink()
    with pytest.raises(TakebackError, match=r"has no model-1\.safetensors"):
        local(REPO)


def test_a_full_disk_is_seen_before_the_start(hub, monkeypatch):
    monkeypatch.setattr("convert.hub.shutil.disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(TakebackError, match=r"needs \d+ MiB of free space"):
        local(REPO)
    assert not [name for name in fetched(hub) if name.endswith(".safetensors")]


def test_a_disk_that_fills_up_is_one_line(hub, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("convert.hub_part.Counted.write", full)
    with pytest.raises(TakebackError, match="the disk is full"):
        local(REPO)


def test_what_the_hub_refuses_is_one_line(hub, monkeypatch):
    hub.gated.add("someone/gated")
    hub.files["someone/pickled"] = {"config.json": b"{}", "pytorch_model.bin": b"x"}
    hub.files["someone/evil"] = {
        "config.json": b"{}",
        "model.safetensors.index.json": b'{"weight_map": {"a": "../../x.safetensors"}}',
    }
    for source, why in (
        ("someone/nothing", "no such repository"),
        ("someone/gated", "is gated"),
        ("someone/pickled", r"pytorch_model\.bin is a pickle file"),
        ("someone/evil", "only plain file names"),
        (f"{REPO}@nowhere", "has no revision nowhere"),
    ):
        with pytest.raises(TakebackError, match=why) as raised:
            local(source)
        assert "\n" not in str(raised.value)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(TakebackError, match="cannot be fetched"):
        local(REPO)


@pytest.mark.parametrize("answer", [[], {}, {"siblings": [{"rfilename": 3}]}, {"siblings": 3}, {"sha": None}])
def test_an_odd_answer_is_one_line(hub, answer):
    hub.info = lambda repo: answer
    with pytest.raises(TakebackError, match=REPO):
        local(REPO)


def test_the_command_fetches_and_converts(hub, tmp_path):
    """With HF_ENDPOINT and HF_HUB_OFFLINE, as a user sets them."""
    out = tmp_path / "out.gguf"
    command = [sys.executable, "-m", "assistant.cli", "convert", f"{REPO}@main", str(out), "--force"]
    root = str(Path(__file__).parents[2])
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment |= {"PYTHONPATH": root, "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url}

    def run(*words, **more):
        return subprocess.run(
            [*command, *words],
            env=environment | more,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    missing = run("--offline")
    assert missing.returncode == 1
    assert missing.stderr.count("\n") == 1
    assert "was not fetched before" in missing.stderr
    assert run().returncode == 0
    assert COMMIT in {path.name for path in (tmp_path / "home").rglob("snapshots/*")}
    hub.asked.clear()
    assert run(HF_HUB_OFFLINE="1").returncode == 0
    assert out.read_bytes()[:4] == b"GGUF"
    assert not hub.asked
