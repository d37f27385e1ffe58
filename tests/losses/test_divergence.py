"""The divergences between levels are the mean of KL over all pairs of a scene's slots, both ways round."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scenarioclip_jax.losses.distillation import Members, kl
from scenarioclip_jax.losses.divergence import divergence_between_levels

GROUPS, SCENES, D = 2, 3, 8
HOW = dict(scaling="plain", temperature=0.5)
# Owners of the slots; the last group's last scene has no object, and nobody's action is told in scene 1.
OWNERS = {
    "global": np.tile(np.arange(SCENES), (GROUPS, 1)),
    "object": np.array([[0, 0, 1, 2, 0], [0, 1, 1, 0, 0]]),
    "relation": np.array([[0, 1, 1, 2], [2, 2, 0, 0]]),
}
MASKS = {
    "global": np.array([[True, False, True], [True, False, True]]),
    "object": np.array([[True, True, True, True, False], [True, True, True, True, True]]),
    "relation": np.array([[True, True, True, True], [True, True, True, False]]),
}
SLOTS = {level: Members(jnp.asarray(OWNERS[level]), jnp.asarray(MASKS[level])) for level in OWNERS}


def embeddings(seed):
    rng = np.random.default_rng(seed)
    return {
        level: jnp.asarray(rng.standard_normal((*owners.shape, D)), jnp.float32)
        for level, owners in OWNERS.items()
    }


def pair_by_pair(image, text, **how):
    """What the docstring says, by loops."""
    total = 0.0
    for modality, by_level in (("image", image), ("text", text)):
        for a in OWNERS:
            for b in OWNERS:
                if a == b:
                    continue
                scenes = []
                for g in range(GROUPS):
                    for s in range(SCENES):
                        rows = []
                        for level in (a, b):
                            kept = OWNERS[level][g] == s
                            if modality == "text" or level != "global":
                                kept = kept & MASKS[level][g]
                            rows.append([by_level[level][g, n] for n in np.flatnonzero(kept)])
                        pairs = [float(kl(q, p, **how)) for p in rows[0] for q in rows[1]]
                        if pairs:
                            scenes.append(np.mean(pairs))
                total += np.mean(scenes)
    return total


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [HOW, HOW | {"student_temperature": 0.9}, HOW | {"scaling": "published", "temperature": 0.1}],
)
def test_it_is_the_mean_over_pairs(how):
    image, text = embeddings(0), embeddings(1)
    found = divergence_between_levels(image, text, SLOTS, **how)
    np.testing.assert_allclose(found, pair_by_pair(image, text, **how), rtol=2e-4)


@pytest.mark.slow
def test_equal_levels_do_not_diverge():
    one = jnp.asarray(np.random.default_rng(0).standard_normal(D), jnp.float32)
    same = {level: jnp.broadcast_to(one, (*owners.shape, D)) for level, owners in OWNERS.items()}
    assert abs(float(divergence_between_levels(same, same, SLOTS, **HOW))) < 1e-5


def test_hidden_slots_have_no_gradient_and_others_have():
    def loss(image, text):
        return divergence_between_levels(image, text, SLOTS, **HOW)

    of_image, of_text = jax.grad(loss, argnums=(0, 1))(embeddings(0), embeddings(1))
    for level, mask in MASKS.items():
        moved = np.abs(np.asarray(of_text[level])).max(-1) > 0
        # The only level of a scene diverges from nothing: scene 1 of the last group has objects alone.
        alone = (OWNERS[level] == 1) & (np.arange(GROUPS)[:, None] == 1)
        np.testing.assert_array_equal(moved, mask & ~alone, err_msg=level)
    assert (np.abs(np.asarray(of_image["global"])).max(-1) > 0).all()


def test_no_scene_with_two_levels_is_no_loss():
    nothing = {
        level: slots._replace(mask=jnp.zeros_like(slots.mask)) for level, slots in SLOTS.items()
    }
    found = divergence_between_levels(embeddings(0), embeddings(1), nothing, **HOW)
    assert float(found) == 0


def test_an_unknown_scaling_is_refused():
    with pytest.raises(ValueError, match="scaling is 'other'"):
        divergence_between_levels(embeddings(0), embeddings(1), SLOTS, **HOW | {"scaling": "other"})
