"""Scenes that benchmarks give to train steps without files."""

import numpy as np

from benchmarks import scenes
from benchmarks.in_memory import our_batch
from scenarioclip_jax.data.settings import DataSettings, LevelSettings


def test_drawn_scenes_become_a_batch():
    drawn = scenes.draw_scenes(2, seed=8)
    room = {"global": 1.0, "object": 20.0, "relation": 20.0}
    levels = {level: LevelSettings(slots_per_scene=slots) for level, slots in room.items()}
    settings = DataSettings(batch_size=2, fit="squash", min_visible_pixels=0, levels=levels)
    levels = our_batch(drawn, settings).levels
    assert np.sum(levels["object"].mask) == sum(len(scene.names) for scene in drawn)
    assert np.sum(levels["relation"].mask) == sum(len(scene.relations) for scene in drawn)
