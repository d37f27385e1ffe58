"""Settings that trade memory and speed for nothing else: fifty steps come to the same losses."""

from types import MappingProxyType

import jax
import numpy as np
import pytest

from scenarioclip_jax.parallel.mesh import put_batch
from tests.parallel import programs

STEPS, BATCHES = 50, 4
ARCH, MESH = "scenario_clip_1", "1x1x1"


def train(layout=MappingProxyType({}), **changes):
    """The state after fifty steps on the same few batches, and every step's losses.

    Args:
      layout: Settings that decide which parameters there are.
    """
    program = programs.program(ARCH, MESH, **layout, **changes)
    state, losses = programs.place(programs.start(ARCH, **layout), program), []
    for step in range(STEPS):
        batch = programs.batch(program.settings, step % BATCHES)
        groups = program.settings.packing_groups
        state, metrics = program.step(state, put_batch(program.mesh, batch, groups))
        losses.append({k: float(v) for k, v in metrics.items() if k.startswith("loss/")})
    return state, losses


@pytest.fixture(scope="module")
def plain():
    _, losses = train()
    assert (
        losses[-1]["loss/total"] < 0.9 * losses[0]["loss/total"]
    )  # there is something to agree on
    return losses


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"model__remat": "dots"}, {"model__remat": "full"}, {"model__unroll": 2}],
    ids=["remat dots", "remat full", "no scan"],
)
def test_what_is_kept_or_computed_again_changes_nothing(plain, changes):
    _, losses = train(**changes)
    for step, (row, expected) in enumerate(zip(losses, plain, strict=True)):
        assert row == pytest.approx(expected, rel=1e-4), step


@pytest.mark.slow
def test_bfloat16_compute_follows_float32(plain):
    state, losses = train(model__dtype="bfloat16")
    kept = (state.trainable, state.ema, state.opt_state)
    dtypes = {x.dtype for x in jax.tree.leaves(kept) if x.dtype.kind == "f"}
    assert dtypes == {np.dtype("float32")}  # masters, their EMA and their moments
    total, expected = (np.array([row["loss/total"] for row in rows]) for rows in (losses, plain))
    assert not np.array_equal(total, expected)
    np.testing.assert_allclose(total, expected, rtol=0.02)


@pytest.mark.slow
def test_the_fast_layout_in_bfloat16_follows_itself_in_float32():
    """What the presets `…_fast` compute in, on their layout: one frozen stem, packed patches and texts."""
    layout = {
        "model__share_stem": True,
        "model__patch_packing": True,
        "trainable": ((r"(vision|text)/stem/.*", False), (r".*", True)),
        "data__text_row_tokens": 24,
    }
    _, exact = train(layout)
    _, rounded = train(layout, model__dtype="bfloat16", loss__products="bfloat16")
    total, expected = (np.array([row["loss/total"] for row in rows]) for rows in (rounded, exact))
    assert not np.array_equal(total, expected)
    assert expected[-1] < expected[0]  # there is something to agree on
    np.testing.assert_allclose(total, expected, rtol=0.02)
