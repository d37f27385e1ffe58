"""The chunked, ring-passed losses are the dense ones, and hold no array over all pairs."""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scenarioclip_jax.losses import contrastive
from scenarioclip_jax.parallel.mesh import batch_sharding, make_mesh, replicated
from tests.losses import dense

N, D = 48, 8
MESHES = {1: (1, 1, 1), 2: (2, 1, 1), 4: (1, 4, 1), 8: (2, 4, 1), "tensor": (2, 2, 2)}
IDS = {"plain": None, "multi-positive": np.random.default_rng(3).integers(0, 9, N)}


def mesh_of(sizes):
    devices = jax.devices()[: int(np.prod(sizes))]
    return make_mesh(**dict(zip(("data", "fsdp", "tensor"), sizes, strict=True)), devices=devices)


def arguments(kind):
    """Embeddings, learned scalars and a mask; a whole device's share of the rows is empty."""
    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(2, N, D)).astype(np.float32)
    mask = rng.random(N) < 0.8
    mask[:6] = False  # all that the first of eight devices holds
    learned = {"softmax": (np.float32(1.5),), "sigmoid": (np.float32(1.5), np.float32(-2.0))}
    return (image, text, *learned[kind], mask)


def function(module, kind, **kwargs):
    loss = getattr(module, f"{kind}_loss")
    wrt = (0, 1, 2, 3) if kind == "sigmoid" else (0, 1, 2)
    return jax.jit(jax.value_and_grad(lambda *args: 3 * loss(*args, **kwargs), wrt))


def assert_close(ours, theirs):
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ids", IDS)
@pytest.mark.parametrize("kind", contrastive.KINDS)
@pytest.mark.parametrize("mesh", MESHES)
def test_the_dense_loss_and_gradient_on_every_mesh(mesh, kind, ids):
    mesh, args = mesh_of(MESHES[mesh]), (*arguments(kind), IDS[ids])
    expected = function(dense, kind)(*args)
    by_row = batch_sharding(mesh)
    placed = [
        x if x is None else jax.device_put(x, by_row if np.ndim(x) else replicated(mesh))
        for x in args
    ]
    # 5 divides no device's share of the columns, so the last chunk is filled up.
    value, gradient = function(contrastive, kind, sharding=by_row, chunk=5)(*placed)
    assert_close((value, gradient), expected)
    assert gradient[0].sharding.is_equivalent_to(by_row, 2)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("kind", contrastive.KINDS)
def test_chunks_outside_a_mesh(kind, chunk):
    args = (*arguments(kind), IDS["multi-positive"])
    assert_close(function(contrastive, kind, chunk=chunk)(*args), function(dense, kind)(*args))


@pytest.mark.parametrize("mesh", [1, 8])
@pytest.mark.parametrize("kind", contrastive.KINDS)
def test_bfloat16_factors_change_the_gradient_by_a_percent(mesh, kind):
    """Rounding to 8 bits moves a factor by up to 0.4%; sums are exact, so errors don't grow with the batch."""
    mesh, rng = mesh_of(MESHES[mesh]), np.random.default_rng(0)
    image = rng.normal(size=(256, 64)).astype(np.float32)
    text = image + 3 * rng.normal(size=image.shape).astype(np.float32)
    learned = {"softmax": (np.float32(3),), "sigmoid": (np.float32(3), np.float32(-2))}[kind]
    args = (image, text, *learned, np.ones(256, bool))
    by_row = batch_sharding(mesh)
    exact, rounded = (
        function(contrastive, kind, sharding=by_row, chunk=100, dtype=dtype)(*args)
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    assert float(rounded[0]) == pytest.approx(float(exact[0]), rel=1e-3)
    for ours, expected in zip(rounded[1], exact[1], strict=True):
        error = np.linalg.norm(ours - expected) / np.linalg.norm(expected)
        assert 0 < error < 0.01


# As on accelerators: columns travel while a device computes. In a process of its own without a compilation
# cache, since XLA computes something else where such a program for simulated devices comes from there.
MEANWHILE = """
from scenarioclip_jax.losses import pairwise
pairwise.travels_meanwhile = lambda sharding: True
from tests.losses import test_pairwise as t
for mesh in (2, "tensor", 8):
    for kind in t.contrastive.KINDS:
        for ids in t.IDS:
            t.test_the_dense_loss_and_gradient_on_every_mesh(mesh, kind, ids)
print("equal")
"""


@pytest.mark.slow
def test_columns_may_travel_while_a_device_computes():
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    command = [sys.executable, "-c", MEANWHILE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["equal"], done.stderr


def largest_array(compiled):
    shapes = re.findall(r"(?:f32|pred|s32)\[([\d,]+)\]", compiled.as_text())
    return max(int(np.prod([int(size) for size in shape.split(",")])) for shape in shapes)


@pytest.mark.parametrize("kind", contrastive.KINDS)
def test_a_device_holds_its_rows_against_a_chunk(kind):
    """Forward and backward, the compiled program has no larger array than that."""
    rows, chunk, sizes = 64, 32, []
    for devices in (1, 2, 8):
        mesh, n = mesh_of((devices, 1, 1)), rows * devices

        def like(*shape, mesh=mesh):
            sharding = batch_sharding(mesh) if shape else replicated(mesh)
            return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)

        learned = [like()] * (1 if kind == "softmax" else 2)
        mask = jax.ShapeDtypeStruct((n,), bool, sharding=batch_sharding(mesh))
        loss = function(contrastive, kind, sharding=batch_sharding(mesh), chunk=chunk)
        compiled = loss.lower(like(n, D), like(n, D), *learned, mask).compile()
        assert largest_array(compiled) <= rows * chunk
        assert "all-gather" not in compiled.as_text()
        sizes.append(compiled.memory_analysis().temp_size_in_bytes)
    # From one device to two the ring comes on top; from there on nothing grows.
    assert sizes[2] <= sizes[1] * 1.02


def test_sigmoid_by_hand():
    image, text = (np.asarray(x, np.float64) for x in arguments("sigmoid")[:2])
    image, text = (x[:3] / np.linalg.norm(x[:3], axis=1, keepdims=True) for x in (image, text))
    logits = np.exp(0.7) * image @ text.T - 1.0
    sign = 2 * np.eye(3) - 1
    expected = np.log(1 + np.exp(-sign * logits)).sum() / 3
    loss = contrastive.sigmoid_loss(
        jnp.asarray(image), jnp.asarray(text), jnp.float32(0.7), jnp.float32(-1), jnp.ones(3, bool)
    )
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", contrastive.KINDS)
def test_large_logits_stay_finite(kind):
    """At the largest scale, with opposite pairs, exp(logit) would under- and overflow."""
    image, _, *learned, _ = arguments(kind)
    learned[0] = np.float32(50.0)
    value, gradient = function(contrastive, kind)(image, -image, *learned, np.ones(N, bool))
    assert np.isfinite(value)
    assert all(np.isfinite(x).all() for x in gradient)
