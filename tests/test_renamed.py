"""Keys of the config that had other names once."""

import functools

import pytest

from scenarioclip_jax.command import explain_flags
from scenarioclip_jax.renamed import RENAMED, new_name, with_new_names
from scenarioclip_jax.train.config import plain
from scenarioclip_jax.train.resume import changed_on_purpose
from tests.train import tiny

# As a run of the demo wrote them, before and after.
BEFORE = {
    "seed": 3,
    "data": {"dir": "", "groups": 8, "scene_length": 16, "objects_per_scene": 4.7, "text_row": 0},
    "embedded": {"num_scenes": 6000, "seed": 0},
    "ema": {"decay": 0.99, "whole": False},
    "views": {"object_jitter": [0.1, 0.1, 0.1, 0.0], "crop_area": [0.8, 1.0]},
}
AFTER = {
    "seed": 3,
    "data": {
        "dir": "",
        "packing_groups": 8,
        "levels": {"scene": {"text_length": 16}, "object": {"slots_per_scene": 4.7}},
        "text_row_tokens": 0,
    },
    "demo_data": {"num_scenes": 6000, "seed": 0},
    "ema": {"decay": 0.99, "keep": "teacher"},
    "views": {"jitter": {"object": [0.1, 0.1, 0.1, 0.0]}, "crop_area": [0.8, 1.0]},
}


def test_saved_settings_are_understood():
    assert with_new_names(BEFORE) == AFTER
    assert with_new_names(AFTER) == AFTER
    assert BEFORE["data"]["groups"] == 8  # what was given stays as it was


def test_every_new_name_is_a_key():
    config = tiny.config("")
    for name in RENAMED.values():
        node = config
        for key in name.split("."):
            assert key in node, f"{name} is no key of configs/pretrain.py"
            node = node[key]


@pytest.mark.parametrize("old", RENAMED)
def test_flags_with_the_earlier_name_are_refused_with_the_new_one(old):
    below = ".num_scenes" if old == "embedded" else ""
    told = explain_flags([f"--config={tiny.CONFIG}", f"--config.{old}{below}=1"])
    assert told == f"config.{old}{below}: this is config.{RENAMED[old]}{below} now"
    assert new_name(RENAMED[old]) is None


def test_a_run_that_was_saved_under_earlier_names_goes_on():
    config = plain(tiny.config(""))
    saved = plain(tiny.config(""))
    for old, new in RENAMED.items():
        *sections, name = new.split(".")
        value = functools.reduce(lambda node, key: node[key], sections, saved).pop(name)
        *sections, name = old.split(".")
        holder = functools.reduce(lambda node, key: node.setdefault(key, {}), sections, saved)
        holder[name] = value == "all" if new == "ema.keep" else value
    for level in saved["data"]["levels"].values():  # which those names are older than
        level.pop("further_per_scene", None)
    assert "levels" not in saved["data"] or not any(saved["data"]["levels"].values())
    assert changed_on_purpose(saved, config, 3) == []
    saved["data"]["object_length"] += 1
    with pytest.raises(ValueError, match=r"config\.data\.levels\.object\.text_length was"):
        changed_on_purpose(saved, config, 3)
