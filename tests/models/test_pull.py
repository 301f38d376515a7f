"""`takeback models pull`, against a server on this machine that speaks the hub's protocol."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from assistant.locks import FileLock
from assistant.models import library
from assistant.models.cli import add_arguments_models, run_models
from assistant.models.pull import fetching_dir, pull
from convert.convert import convert
from convert.errors import TakebackError
from convert.hub_part import Counted
from tests.convert.hub_server import serving
from tests.convert.small_model import write_checkpoint, write_record

REPO, FILE = "someone/small-GGUF", "small.Q8_0.gguf"


@pytest.fixture(scope="module")
def taking_back(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(folder)
    write_record(folder)
    return convert(folder, folder / "model.gguf", type="f32").out.read_bytes()


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("ordinary")
    write_checkpoint(folder, reset=False)
    return convert(folder, folder / "model.gguf", type="f32").out.read_bytes()


@pytest.fixture
def hub(tmp_path, monkeypatch, taking_back):
    with serving() as served:
        monkeypatch.setenv("TAKEBACK_HOME", str(tmp_path / "home"))
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr("convert.hub_part.CHUNK_BYTES", 500)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", constants.DOWNLOAD_CHUNK_SIZE)
        monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
        served.files[REPO] = {"README.md": b"#", FILE: taking_back}
        yield served


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments_models(parser)
    return run_models(parser.parse_args(["pull", *words]))


def parts() -> list[Path]:
    return sorted(path for path in fetching_dir().glob("*") if path.suffix != ".lock")


def refused(match: str, *words: str, **more) -> None:
    """A pull that fails in one line, and leaves no model and no part."""
    with pytest.raises(TakebackError, match=match) as raised:
        pull(*words, **more)
    assert "\n" not in str(raised.value)
    assert library.models() == parts() == []


def test_the_only_file_of_a_repository_is_taken(hub, taking_back, capsys):
    assert run(REPO) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("Pulled small.Q8_0 ")
    assert not printed.err
    (model,) = library.models()
    assert library.resolve("small.Q8_0").read_bytes() == taking_back
    assert model.size == len(taking_back)
    assert parts() == []
    hub.asked.clear()
    assert run(REPO) == 0
    assert capsys.readouterr().out.startswith("Here already: small.Q8_0 ")
    assert not [path for _, path, _ in hub.asked if "resolve" in path]


def test_progress_counts_bytes(hub, taking_back):
    steps = []
    pull(REPO, progress=lambda *step: steps.append(step))
    assert steps[-1] == ("fetching", len(taking_back), len(taking_back))


def test_a_model_that_cannot_take_back_is_told_of(hub, ordinary, capsys):
    hub.files[REPO] = {FILE: ordinary}
    assert run(REPO) == 0
    assert "it cannot take back what it says" in capsys.readouterr().err


def test_several_files_are_listed_and_one_is_named(hub, taking_back):
    other = {
        "big.gguf": taking_back + b"x" * 3_000_000,
        "sub/small.gguf": taking_back,
        "mmproj-f16.gguf": b"GGUF",
        "in-00001-of-00002.gguf": b"GGUF",
    }
    hub.files[REPO] = other
    with pytest.raises(TakebackError) as raised:
        pull(REPO)
    sizes = [f"{max(len(other[name]) / 1e6, 1):,.0f} MB" for name in ("sub/small.gguf", "big.gguf")]
    assert f"name one of them: sub/small.gguf ({sizes[0]}), big.gguf ({sizes[1]})" in str(raised.value)
    assert pull(REPO, "sub/small.gguf").model.name == "small"
    del other["big.gguf"]
    assert pull(REPO).was_here  # neither a picture reader nor a piece is a choice
    with pytest.raises(TakebackError, match="a piece of a model"):
        pull(REPO, "in-00001-of-00002.gguf")


def test_a_connection_that_breaks_is_taken_up_again(hub, taking_back):
    hub.cut[FILE] = 1000
    assert pull(REPO).model.path.read_bytes() == taking_back
    assert [wanted for command, path, wanted in hub.asked if command == "GET" and "resolve" in path][1:] == [
        "bytes=1000-"
    ]


def test_a_network_that_is_gone_keeps_the_part_and_the_next_call_goes_on(hub, taking_back):
    class Always(dict):
        pop = dict.get

    hub.cut = Always({FILE: 1000})
    with pytest.raises(TakebackError, match="what was fetched is kept, so run it again"):
        pull(REPO)
    assert library.models() == []
    assert [path.stat().st_size for path in parts()] == [1000]
    hub.cut = {}
    hub.asked.clear()
    assert pull(REPO).model.path.read_bytes() == taking_back
    assert "bytes=1000-" in {wanted for _, _, wanted in hub.asked}
    assert parts() == []


@pytest.mark.parametrize("lie", [-1000, 1000])
def test_a_size_that_is_not_so_is_refused(hub, taking_back, lie, monkeypatch):
    hub.lies[FILE] = len(taking_back) + lie
    held = []
    write = Counted.write
    monkeypatch.setattr(Counted, "write", lambda self, data: held.append(self.tell()) or write(self, data))
    refused("does not have the size and hash that the hub states", REPO)
    assert max(held) <= hub.lies[FILE]  # no more than was stated reaches the disk


def test_a_size_that_no_disk_holds_is_refused_before_the_start(hub):
    hub.lies[FILE] = 1 << 60
    refused(r"needs [\d,]+ MiB of free space and has .*TAKEBACK_HOME", REPO)
    assert not [path for _, path, _ in hub.asked if "resolve" in path]
    hub.lies[FILE] = -1
    refused("has no GGUF file", REPO)


def test_what_is_here_in_part_counts_as_room(hub, taking_back, monkeypatch):
    folder = fetching_dir()
    folder.mkdir(parents=True)
    (folder / f"{hub.digest(taking_back, large=True)}.part").write_bytes(taking_back[:-10])
    monkeypatch.setattr("convert.hub.shutil.disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 10))
    assert pull(REPO).model.path.read_bytes() == taking_back


def test_another_content_than_stated_is_refused(hub, taking_back):
    digest = hub.digest
    hub.digest = lambda raw, *, large: digest(raw + b"!" if large else raw, large=large)
    refused("does not have the size and hash that the hub states", REPO)


def test_what_is_no_sound_model_is_refused(hub):
    hub.files[REPO] = {FILE: b"GGUF\x03\x00\x00\x00"}
    refused("not a valid GGUF file", REPO)


def test_what_is_not_there_is_one_line(hub, monkeypatch):
    hub.files["someone/weights"] = {"model.safetensors": b"x"}
    refused("takeback convert someone/weights", "someone/weights")
    refused(r"has no other\.gguf; there is small\.Q8_0\.gguf", REPO, "other.gguf")
    refused("no such repository; if it is private, log in", "someone/nothing")
    refused("has no revision nowhere", f"{REPO}@nowhere")
    refused("written ORG/NAME", "no-repository")
    hub.closed[REPO] = (404, "EntryNotFound")
    refused("cannot be fetched", REPO)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    refused("cannot be fetched", REPO)


def test_a_gated_repository_says_how_to_get_in(hub):
    hub.closed[REPO] = (401, "GatedRepo")  # its list of files is public
    with pytest.raises(TakebackError, match="is gated: ask for access on its page, then log in with"):
        pull(REPO)
    hub.closed[REPO] = (401, "")
    with pytest.raises(TakebackError, match="log in"):
        pull(REPO)
    assert library.models() == []


def test_a_redirect_is_followed(hub, taking_back):
    hub.moved.add(FILE)
    hub.cut[FILE] = 1000
    assert pull(REPO).model.path.read_bytes() == taking_back
    assert any(path.startswith("/elsewhere") for _, path, _ in hub.asked)


def test_names_are_not_trusted(hub, taking_back):
    odd = "\x1b[2J\u202eevil:*.gguf"
    hub.files[REPO] = {odd: taking_back, "../../x.gguf": taking_back, "..\\y.gguf": taking_back}
    model = pull(REPO).model
    assert model.path.parent == library.models_dir()
    assert not set("\x1b\u202e:*") & set(model.name)
    hub.files[REPO] = {"default.gguf": taking_back}
    with pytest.raises(TakebackError, match="built-in"):
        pull(REPO)
    assert pull(REPO, name="mine").model.name == "mine"
    hub.files[REPO] = {"...gguf": taking_back}
    with pytest.raises(TakebackError, match="--name"):
        pull(REPO)


def test_the_name_of_another_model_is_refused_before_the_fetch(hub, ordinary):
    pull(REPO)
    hub.files[REPO] = {FILE: ordinary}
    hub.asked.clear()
    with pytest.raises(TakebackError, match=r"there is a model named 'small\.Q8_0' already"):
        pull(REPO)
    assert not [path for _, path, _ in hub.asked if "resolve" in path]


def test_offline_takes_only_what_the_cache_has(hub, taking_back, monkeypatch):
    refused("was not fetched before, and offline nothing is", REPO, offline=True)
    from huggingface_hub import hf_hub_download

    hf_hub_download(REPO, FILE)
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert pull(REPO).model.path.read_bytes() == taking_back
    with pytest.raises(TakebackError, match=r"has no other\.gguf"):
        pull(REPO, "other.gguf")
    assert not hub.asked


def test_a_damaged_cache_gives_no_model(hub, taking_back):
    from huggingface_hub import hf_hub_download

    Path(hf_hub_download(REPO, FILE)).resolve().write_bytes(taking_back[:-1] + b"!")
    refused("in huggingface-hub's cache is damaged", REPO, offline=True)


def test_two_do_not_fetch_the_same_model(hub):
    lock = FileLock(fetching_dir() / "small.Q8_0.lock")
    assert lock.try_acquire()
    refused(r"another takeback fetches 'small\.Q8_0' now", REPO)
    lock.release()
    assert pull(REPO).model.size


@pytest.mark.skipif(os.name != "posix", reason="a signal as a terminal sends it")
def test_ctrl_c_keeps_the_part_and_leaves_no_model(hub, taking_back, tmp_path, monkeypatch):
    raw = taking_back + bytes(1 << 20)
    hub.files[REPO] = {FILE: raw}
    hub.slow[FILE] = 1 << 19
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment |= {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.url}
    command = [sys.executable, "-m", "assistant.cli", "models", "pull", REPO]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, env=environment, cwd=root, stderr=subprocess.PIPE, text=True) as child:
        deadline = time.monotonic() + 120
        while sum(path.stat().st_size for path in parts()) < 1 << 18 and time.monotonic() < deadline:
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=120)
    assert child.returncode == 130
    assert "the same command goes on with it" in said
    assert "Traceback" not in said
    assert library.models() == []
    assert len(parts()) == 1
    hub.slow.clear()
    hub.asked.clear()
    assert pull(REPO).model.path.read_bytes() == raw
    assert [wanted for command, _, wanted in hub.asked if command == "GET" and wanted]
