from pathlib import Path

import pytest

from convert.errors import TakebackError
from train.hub_file import local_file


@pytest.fixture
def hub(monkeypatch):
    """What the hub is asked for; it answers with what `answer` says, a path or an error."""
    import huggingface_hub

    asked = []

    def download(repo, file, *, revision, repo_type):
        asked.append((repo, file, revision, repo_type))
        if isinstance(download.answer, Exception):
            raise download.answer
        return download.answer

    download.answer = "/cache/file"
    download.asked = asked
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return download


def test_a_path_is_a_path_and_the_hub_is_not_asked(hub):
    assert local_file("data/file.jsonl") == Path("data/file.jsonl")
    assert not hub.asked


def test_a_data_sets_file_is_fetched_where_it_is_asked_for(hub):
    assert local_file("hub:org/set/data/f.jsonl.gz") == Path("/cache/file")
    local_file("hub:org/set@v1.0/f.csv")
    assert hub.asked == [
        ("org/set", "data/f.jsonl.gz", None, "dataset"),
        ("org/set", "f.csv", "v1.0", "dataset"),
    ]


@pytest.mark.parametrize(
    "given", ["hub:", "hub:org", "hub:org/set", "hub:org/set/", "hub:org/set/../f", "hub:o/s//f"]
)
def test_what_is_no_place_is_refused(hub, given):
    with pytest.raises(TakebackError, match="org/name/file"):
        local_file(given)
    assert not hub.asked


def test_what_the_hub_says_is_one_line(hub):
    from huggingface_hub.errors import LocalEntryNotFoundError

    for error, said in (
        (LocalEntryNotFoundError("gone\nfor good"), "no such file"),
        (OSError("no\nroute"), "cannot be fetched: no route"),
    ):
        hub.answer = error
        with pytest.raises(TakebackError, match=said) as caught:
            local_file("hub:org/set/f")
        assert "\n" not in str(caught.value)
