"""The card says what made a data set and what was left out, and its head is one that the hub can read."""

import json

import pytest
import yaml
from PIL import Image

from scenarioclip_jax.annotate.card import card
from scenarioclip_jax.annotate.settings import AssembleSettings

SUMMARY = {
    "counts": {"scenes": 1200, "objects": 5000},
    "removed": {"object_score": 12},
    "missing": {"failed in caption": 3},
    "made": {
        "caption": {
            "stage": "caption",
            "version": 1,
            "settings": {
                "model": "a/b",
                "revision": "c0ffee",
                "prompt": "Say\nwhat | is",
                "max_tokens": 9,
            },
        },
        "verify": {"stage": "verify", "version": 1, "settings": {"prompt": "Is it so?"}},
        "regions": {"stage": "regions", "version": 2, "settings": {"nearness": 0.5}},
    },
}


def head(text):
    return yaml.safe_load(text.split("---\n")[1])


@pytest.mark.parametrize("name", ["Streets", 'A "b": c\\d', "", "{x}"])
def test_the_head_can_be_read_whatever_the_name_is(name):
    text = card(SUMMARY, AssembleSettings(name=name, license="cc-by-4.0"), [])
    assert head(text)["pretty_name"] == (name or "Scenes")
    assert head(text)["license"] == "cc-by-4.0"
    assert head(text)["size_categories"] == ["1K<n<10K"]


def test_models_prompts_filters_and_losses_are_told():
    text = card(SUMMARY, AssembleSettings(), ["examples/0.png"])
    for told in (
        "a/b",
        "c0ffee",
        "of caption:\n\n> Say\n> what",
        "of verify:\n\n> Is it so?",
        "object score | 12",
        "failed in caption | 3",
    ):
        assert told in text, told
    assert "| regions 2 | rules |" in text
    assert "](examples/0.png)" in text
    assert "license of the photos isn't known" in text
    assert head(text)["license"] == "unknown"


@pytest.mark.slow
def test_assemble_writes_it_with_pictures(photos):
    photos.configure(assemble={"name": "Drawn", "examples": 2})
    photos.run()
    folder = photos.work / "dataset"
    text = (folder / "README.md").read_text()
    assert "# Drawn" in text
    assert str(json.loads((folder / "assemble.json").read_text())["counts"]["relations"]) in text
    for number in range(2):
        with Image.open(folder / f"examples/{number}.png") as picture:
            assert min(picture.size) > 300
    assert not (folder / "examples/2.png").exists()
