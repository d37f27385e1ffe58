"""Without other words, a run describes photos with those of its own data."""

import json
import shutil

import pytest

from scenarioclip_jax.describe import own_words as module
from scenarioclip_jax.describe.command import main
from scenarioclip_jax.describe.own_words import own_words
from scenarioclip_jax.describe.vocabulary import read_words
from scenarioclip_jax.describe.word_lists import Words


@pytest.fixture
def run(tmp_path):
    """Writes the config of a run that was trained on some data."""

    def write(data):
        (tmp_path / "run/checkpoints").mkdir(parents=True, exist_ok=True)
        config = {"data": {"dir": str(data)}, "demo_data": {"num_scenes": 5, "seed": 3}}
        (tmp_path / "run/config.json").write_text(json.dumps(config))
        return tmp_path / "run"

    return write


def test_the_words_are_those_of_the_data_set_that_the_run_names(run, small_data):
    assert own_words(run(small_data)) == read_words(small_data)


def test_the_drawn_scenes_are_found_where_they_were_drawn(run, small_data, tmp_path, monkeypatch):
    folder = run("")
    monkeypatch.setattr(module, "EMBEDDED", tmp_path)
    assert own_words(folder) is None  # nothing is drawn for it
    (tmp_path / "5-3").symlink_to(small_data.resolve(), target_is_directory=True)
    assert own_words(folder) == read_words(small_data)


def test_of_a_mixture_the_words_are_joined(run, small_data, tmp_path, monkeypatch):
    shutil.copytree(small_data, tmp_path / "other")
    words = {
        "other": Words(("riding",), ("man", "cat"), ("on",)),
        small_data.name: Words(("riding", "eating"), ("cat", "dog"), ()),
    }
    monkeypatch.setattr(module, "read_words", lambda place: words[place.name])
    found = own_words(run(f"{tmp_path / 'other'}:2,{small_data}:1"))
    assert found == Words(("riding", "eating"), ("man", "cat", "dog"), ("on",))


def test_data_that_is_gone_and_models_that_name_none(run, tmp_path):
    assert own_words(run(tmp_path / "gone")) is None
    assert own_words(tmp_path) is None
    assert own_words("openai/clip-vit-base-patch32") is None


def test_the_command_says_that_words_are_missing(tmp_path):
    with pytest.raises(SystemExit, match="names no data set that is here, so give --words"):
        main([f"--model={tmp_path}", "--photo=a.png"])
