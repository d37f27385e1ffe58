"""Principal components of points whose directions are known."""

import numpy as np
import pytest

from scenarioclip_jax.evaluation.score.projection import principal_components


def test_known_directions():
    # Along (0, 0.6, 0.8) twice as far as along (1, 0, 0): variances 4 to 1.
    long, short = np.array([0, 0.6, 0.8]), np.array([1.0, 0, 0])
    x = 5 + np.stack([2 * long, -2 * long, short, -short])
    found = principal_components(x)
    np.testing.assert_allclose(found.shares, [0.8, 0.2])
    np.testing.assert_allclose(found.points, [[2, 0], [-2, 0], [0, 1], [0, -1]], atol=1e-12)
    np.testing.assert_allclose(principal_components(-x).points, -found.points, atol=1e-12)


def test_distances_are_kept_where_there_are_but_two_dimensions():
    x = np.random.default_rng(0).normal(size=(9, 2))
    y = principal_components(x).points
    distance = [np.linalg.norm(z[:, None] - z[None], axis=-1) for z in (x, y)]
    np.testing.assert_allclose(distance[0], distance[1])


def test_too_few():
    with pytest.raises(ValueError, match="2 components need"):
        principal_components(np.zeros((1, 5)))
