"""The weights of the levels in the training objective."""

import jax.numpy as jnp
import numpy as np
import pytest

from scenarioclip_jax.losses.distillation import Members
from scenarioclip_jax.models.scenario_clip import Embeddings
from scenarioclip_jax.train.objective import Contrast, Level, objective

LEVELS = ("global", "object", "relation")


def losses(**weights):
    rng = np.random.default_rng(0)
    image, text = (
        {level: jnp.asarray(rng.normal(size=(1, 6, 4)), jnp.float32) for level in LEVELS}
        for _ in range(2)
    )
    slots = Members(np.zeros((1, 6), int), np.ones((1, 6), bool))
    about = {level: Level(slots, np.arange(6)[None]) for level in LEVELS}
    contrast = Contrast(dict.fromkeys(LEVELS, jnp.float32(2.0)))
    how = {"distill_weight": 0.0, "distill": {}}
    return objective(Embeddings(image, text), None, about, contrast, level_weights=weights, **how)


def test_levels_count_by_their_weights():
    total, metrics = losses(object=2.5, relation=0.0)
    expected = metrics["loss/global"] + 2.5 * metrics["loss/object"]
    assert total == metrics["loss/contrastive"] == pytest.approx(float(expected), rel=1e-6)
    # What each level loses is told as it is.
    assert metrics["loss/relation"] > 0.1


def test_without_weights_all_count_alike():
    total, metrics = losses()
    assert total == pytest.approx(
        sum(float(metrics[f"loss/{level}"]) for level in LEVELS), rel=1e-6
    )
