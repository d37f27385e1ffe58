from types import SimpleNamespace

import pytest

from scenarioclip_jax.annotate.models import revisions
from scenarioclip_jax.annotate.models.protocols import ModelError
from scenarioclip_jax.annotate.models.revisions import resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "m" / "part").mkdir(parents=True)
    (tmp_path / "m" / "config.json").write_text("{}")
    (tmp_path / "m" / "part" / "weights").write_bytes(bytes(100))
    return tmp_path / "m"


def test_a_folder_is_known_by_its_files(folder):
    first = resolve(str(folder))
    assert first.startswith("sha256:")
    assert resolve(str(folder), first) == first
    (folder / ".cache").mkdir()
    (folder / ".cache" / "note").write_text("downloaded")
    assert resolve(str(folder)) == first
    seen = {first}
    weights = folder / "part" / "weights"
    for change in (
        lambda: weights.write_bytes(bytes(99) + b"1"),
        lambda: weights.write_bytes(bytes(101)),
        lambda: weights.rename(folder / "part" / "other"),
        lambda: (folder / "config.json").write_text("[]"),
        lambda: (folder / "more").write_bytes(b""),
    ):
        change()
        digest = resolve(str(folder))
        assert digest not in seen, "a change isn't seen"
        seen.add(digest)
    with pytest.raises(ModelError, match="have changed"):
        resolve(str(folder), first)


def test_of_large_files_both_ends_count(folder, monkeypatch):
    monkeypatch.setattr(revisions, "_WHOLE", 50)
    monkeypatch.setattr(revisions, "_PART", 10)
    weights = folder / "part" / "weights"
    digests = set()
    for place in (0, 9, 90, 99):
        content = bytearray(100)
        content[place] = 1
        weights.write_bytes(content)
        digests.add(resolve(str(folder)))
    assert len(digests) == 4


def test_files_are_not_taken_for_each_other(tmp_path):
    for name, files in (("one", {"a": b"1b\0" + b"2"}), ("two", {"a": b"1", "b": b"2"})):
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).write_bytes(content)
    assert resolve(str(tmp_path / "one")) != resolve(str(tmp_path / "two"))


def test_an_empty_folder_is_said(tmp_path):
    with pytest.raises(ModelError, match="no files"):
        resolve(str(tmp_path))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The hub's answer: a commit or an error; and an empty cache."""
    import huggingface_hub

    answer = SimpleNamespace(is_=COMMIT, asked=[], cache=tmp_path / "hub")

    def model_info(self, name, revision=None, timeout=None):
        answer.asked.append((name, revision))
        if isinstance(answer.is_, Exception):
            raise answer.is_
        return SimpleNamespace(sha=answer.is_)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(answer.cache))
    # Whatever else were to be asked of the hub would fail.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return answer


def test_the_hub_says_which_commit_a_name_is(hub):
    assert resolve("some/model") == COMMIT
    assert resolve("some/model", "v1") == COMMIT
    assert hub.asked == [("some/model", None), ("some/model", "v1")]


def test_a_commit_is_what_it_is(hub):
    assert resolve("some/model", COMMIT) == COMMIT
    assert hub.asked == []


@pytest.mark.parametrize("revision", ["", "v1"])
def test_without_the_hub_the_cache_says_it(hub, revision):
    hub.is_ = ConnectionError("no network")
    folder = hub.cache / "models--some--model"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / (revision or "main")).write_text(COMMIT)
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    (folder / "snapshots" / COMMIT / "config.json").write_text("{}")
    assert resolve("some/model", revision) == COMMIT


def test_without_either_it_is_said(hub):
    hub.is_ = ConnectionError("no network")
    with pytest.raises(ModelError, match=r"no network.*hf download some/model"):
        resolve("some/model")


def hub_error(name):
    from huggingface_hub import errors

    request = SimpleNamespace(url="", method="GET", headers={})
    response = SimpleNamespace(headers={}, request=request, status_code=404, text="")
    return getattr(errors, name)("not found", response=response)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("RepositoryNotFoundError", "Check the name"),
        ("GatedRepoError", "hf auth login"),
        ("RevisionNotFoundError", "no revision 'v9'"),
    ],
)
def test_what_the_hub_does_not_have_is_said(hub, error, remedy):
    hub.is_ = hub_error(error)
    with pytest.raises(ModelError, match=remedy):
        resolve("some/model", "v9")


def test_a_name_that_is_none_is_said(hub):
    from huggingface_hub.errors import HFValidationError

    hub.is_ = HFValidationError("bad name")
    with pytest.raises(ModelError, match="no such folder"):
        resolve("/nowhere/at/all")
