"""The ring of the losses on a pod: texts and what is collected for them travel while a chip computes."""

import re

import jax
import jax.numpy as jnp

from scenarioclip_jax.aot import topology
from scenarioclip_jax.losses.contrastive import softmax_loss
from scenarioclip_jax.parallel.mesh import batch_sharding, make_mesh, replicated
from tests.aot.test_aot import needs_libtpu


def computations(hlo: str):
    """The lines of each computation of a compiled program, in the order of their schedule."""
    for text in re.findall(r"^%?[\w.-]+ \([^\n]*\{\n(.*?)^\}", hlo, re.MULTILINE | re.DOTALL):
        yield text.splitlines()


@needs_libtpu
def test_columns_travel_while_a_chip_computes():
    mesh = make_mesh(devices=topology.pod("v5e:2x4"))
    by_row, rows = batch_sharding(mesh), 8 * 2048

    def like(*shape, dtype=jnp.float32):
        sharding = by_row if shape else replicated(mesh)
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    def loss(image, text, scale, mask):
        return softmax_loss(image, text, scale, mask, sharding=by_row, dtype=jnp.bfloat16)

    step = jax.jit(jax.grad(loss, (0, 1)))
    arguments = [like(rows, 512), like(rows, 512), like(), like(rows, dtype=bool)]
    hlo = step.lower(*arguments).compile().as_text()
    turns = 0
    for lines in computations(hlo):
        # A turn: an inner loop over chunks computes, and the columns are under way.
        work = [i for i, line in enumerate(lines) if " while(" in line]
        starts = [i for i, line in enumerate(lines) if " collective-permute-start(" in line]
        ends = [i for i, line in enumerate(lines) if " collective-permute-done(" in line]
        if work and starts and len(starts) > 1:
            assert max(starts) < min(work), "something travels only after the work"
            assert max(work) < min(ends), "the work waits for what travels"
            turns += 1
    assert turns == 2  # forward and backward
    assert "bf16[2,1024,512]" in hlo  # texts travel as they are multiplied
