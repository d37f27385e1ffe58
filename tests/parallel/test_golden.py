"""Partitions of parameters and collectives of the train step against the golden files.

If a difference is wanted: `python -m tests.parallel.collectives`, and look at the diff.
"""

import math

import pytest

from scenarioclip_jax.costs.collectives import collectives, summary
from tests.parallel import programs
from tests.parallel.collectives import (
    ARCH,
    MESHES,
    minor_version,
    partitions,
    read,
    step_collectives,
)


def test_partitions():
    assert partitions() == read("partitions")


@pytest.mark.parametrize("mesh", MESHES)
def test_collectives(mesh):
    """How instructions are combined is up to the compiler, so other versions of JAX aren't compared."""
    golden = read("collectives")
    if minor_version() not in golden:
        pytest.skip(f"the golden file has no figures of JAX {minor_version()}")
    assert step_collectives(mesh) == golden[minor_version()][mesh]


@pytest.mark.parametrize("mesh", MESHES)
def test_nothing_moves_but_what_should(mesh):
    """Whatever the version: no activation of the towers goes from one part of the batch to another."""
    program = programs.program(ARCH, mesh)
    data, fsdp, tensor = programs.MESHES[mesh]
    found = collectives(program.step.as_text())
    parameters = program.run.state_like.student().values()
    by_layer = {math.prod(p.shape[1:]) // tensor for p in parameters} | {p.size for p in parameters}
    for kind, shape, size, times, _ in found:
        assert kind in ("all-gather", "all-reduce", "collective-permute"), (kind, shape)
        if kind == "all-gather":  # FSDP: a parameter, when its layer runs
            assert fsdp > 1
            assert size // 4 in by_layer, shape
        if kind == "collective-permute":
            # The ring of the losses: one turn for each part of the batch, and the last step home.
            assert times in (data * fsdp, 1), shape
    # Three levels. Forward: text, labels and one statistic; backward also the text's gradient. What is
    # collected follows one turn behind, so it takes one step more.
    assert sum(kind == "collective-permute" for kind, *_ in found) == 3 * (3 + 1 + 4 + 1)


def test_accumulation_moves_no_activation_either():
    """Its second pass is traced by itself, and needs to be told the mesh like the first."""
    program = programs.program(
        ARCH, "1x8x1", loss__accumulate=2, data__packing_groups=16, data__batch_size=32
    )
    parameters = program.run.state_like.student().values()
    by_layer = {math.prod(p.shape[1:]) for p in parameters} | {p.size for p in parameters}
    for kind, shape, size, *_ in collectives(program.step.as_text()):
        assert kind in ("all-gather", "all-reduce", "collective-permute"), (kind, shape)
        if kind == "all-gather":
            assert size // 4 in by_layer, shape


def test_the_summary_counts_loops():
    hlo = """HloModule m

%body (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  ROOT %r = f32[2]{0} all-reduce(%p), to_apply=%add
}

ENTRY %main (a: f32[4]) -> f32[2] {
  %a = f32[4]{0} parameter(0)
  %g = (f32[4]{0}, s32[3,2]{1,0}) all-gather(%a, %b), dimensions={0}
  ROOT %w = f32[2]{0} while(%a), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"5"}}
}
"""
    assert summary(hlo) == {
        "all-gather": {"instructions": 1, "bytes": 40},
        "all-reduce": {"instructions": 1, "bytes": 40},
    }
