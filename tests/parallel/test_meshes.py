"""A run is the same run on any mesh, and nothing moves between devices but what should."""

import functools
import math
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from scenarioclip_jax.costs.collectives import collectives
from scenarioclip_jax.parallel import mesh as meshes
from scenarioclip_jax.train.objective import TERMS
from tests.conftest import forget_compiled_programs
from tests.parallel import programs
from tests.parallel.collectives import ARCH, MESHES, minor_version, read, step_collectives

STEPS = 10
SHARDED = [name for name in programs.MESHES if name != "1x1x1"]
# Compiling takes all the time. What isn't slow is the mesh that has all axes: ten steps of the smallest
# architecture, and what moves for the one that has every part of the others (ARCH).
AXES = "2x2x2"
GOLDEN = [(ARCH, mesh) for mesh in sorted(MESHES, key=lambda mesh: mesh != AXES)]
OTHERS = [("clip", AXES), *((ARCH, mesh) for mesh in SHARDED if mesh not in MESHES)]
OTHERS += [(arch, mesh) for arch in ("pyramid_clip", "scenario_clip_0") for mesh in SHARDED]
OTHERS += [("clip", mesh) for mesh in SHARDED if mesh != AXES]
PACKED = {"model__patch_packing": True, "model__share_stem": True, "data__text_row_tokens": 32}
PACKED |= {"ema__keep": "teacher"}
# One pass over each photo for all levels, and every term of the objective.
RECIPE = {f"loss__terms__{name}": 0.5 for name in TERMS} | {"model__regions": "pooled"}
RECIPE |= {"model__object_parts": 2, "model__ends_as_objects": True}
RECIPE |= {"data__levels__relation__further_per_scene": 6.0, "data__text_row_tokens": 32}
RECIPE |= {"data__levels__scene__further_per_scene": 1.0}
RECIPE |= {"data__levels__relation__tokens_per_scene": 90.0}


@pytest.mark.parametrize(
    ("devices", "groups"), [((0, 1), [0, 1, 4, 5]), ((0,), [0, 1]), ((3,), [6, 7])]
)
def test_a_process_loads_what_its_devices_hold(devices, groups, monkeypatch):
    """Also where they lie apart in the mesh, and where another process holds the same."""
    parts = [slice(0, 2), slice(4, 6), slice(2, 4), slice(6, 8)]
    indices = {device: (parts[device],) for device in devices}
    sharding = SimpleNamespace(addressable_devices_indices_map=lambda shape: indices)
    monkeypatch.setattr(meshes, "batch_sharding", lambda mesh: sharding)
    assert meshes.local_groups(None, 8) == groups


def test_batches_from_several_processes_fit_together(monkeypatch):
    """The branch for several processes, with all groups in this one."""
    mesh = programs.mesh_of("2x2x2")
    batch = {"x": np.arange(24).reshape(8, 3), "none": None}
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    placed = meshes.put_batch(mesh, batch, 8)
    np.testing.assert_array_equal(placed["x"], batch["x"])
    assert placed["x"].sharding == meshes.batch_sharding(mesh)


@functools.cache
def on_one_device(arch, kind="plain"):
    changes = {"plain": {}, "packed": PACKED, "recipe": RECIPE}[kind]
    program, start = programs.program(arch, "1x1x1", **changes), programs.start(arch, **changes)
    _, rows = programs.run_steps(program, start, STEPS)
    assert rows[-1]["loss/total"] < rows[0]["loss/total"]
    return rows


@pytest.fixture(scope="module")
def case(request):
    """An architecture and a mesh. All tests with them come in a row, and share their program.

    More programs than a process can hold come along here.
    """
    yield request.param
    forget_compiled_programs()


def named(cases, quick):
    """The cases for `parametrize`, with names that can be read; all but one are slow."""
    marks = {case: [] if case == quick else [pytest.mark.slow] for case in cases}
    values = [pytest.param(case, marks=marks[case], id="-".join(case)) for case in cases]
    return {"argnames": "case", "argvalues": values, "indirect": True}


@pytest.mark.parametrize(**named([*GOLDEN, *OTHERS], quick=("clip", AXES)))
def test_ten_steps_as_on_one_device(case):
    arch, mesh = case
    state = assert_ten_steps(programs.program(*case), programs.start(arch), on_one_device(arch))

    # The mesh does split what it should: parameters, their moments and their EMA copies alike.
    _, fsdp, tensor = programs.MESHES[mesh]
    for tree in (state.trainable, state.ema, state.opt_state[1].mu, state.opt_state[1].nu):
        for path, array in tree.items():
            if path.endswith(("qkv/kernel", "out/kernel", "fc1/kernel", "fc2/kernel")):
                (here, *_) = array.addressable_shards
                assert array.size == here.data.size * fsdp * tensor, path
    assert {len(x.sharding.device_set) for x in jax.tree.leaves(state)} == {
        int(np.prod(programs.MESHES[mesh]))
    }


@pytest.mark.parametrize(**named(GOLDEN, quick=(ARCH, AXES)))
def test_collectives(case):
    """How instructions are combined is up to the compiler, so other versions of JAX aren't compared."""
    golden, (_, mesh) = read("collectives"), case
    if minor_version() not in golden:
        pytest.skip(f"the golden file has no figures of JAX {minor_version()}")
    assert step_collectives(mesh) == golden[minor_version()][mesh]


@pytest.mark.parametrize(**named(GOLDEN, quick=(ARCH, AXES)))
def test_nothing_moves_but_what_should(case):
    """Whatever the version: no activation of the towers goes from one part of the batch to another."""
    program, (data, fsdp, tensor) = programs.program(*case), programs.MESHES[case[1]]
    found = collectives(program.step.as_text())
    parameters = program.run.state_like.student().values()
    by_layer = {math.prod(p.shape[1:]) // tensor for p in parameters} | {p.size for p in parameters}
    for kind, shape, size, times, _ in found:
        assert kind in ("all-gather", "all-reduce", "collective-permute"), (kind, shape)
        if kind == "all-gather":  # FSDP: a parameter, when its layer runs
            assert fsdp > 1
            assert size // 4 in by_layer, shape
        if kind == "collective-permute":
            # The ring of the losses, one turn for each part of the batch.
            assert times == data * fsdp, shape
    # Three levels. Forward: text, labels and one statistic; backward also the text's gradient.
    assert sum(kind == "collective-permute" for kind, *_ in found) == 3 * (3 + 4)


@pytest.mark.slow  # tests/train/test_run.py has a whole packed run on eight devices
def test_ten_packed_steps_as_on_one_device():
    """Packed patches and texts, levels joined in one stem: groups stay where they are."""
    program = programs.program("scenario_clip_1", "2x2x2", **PACKED)
    start = programs.start("scenario_clip_1", **PACKED)
    assert_ten_steps(program, start, on_one_device("scenario_clip_1", "packed"))


@pytest.mark.slow
def test_ten_steps_of_a_recipe_as_on_one_device():
    """Its losses over candidates stay within groups; the batch goes through the towers in two parts."""
    arch = "scenario_clip_shared"
    expected = on_one_device(arch, "recipe")
    assert {f"loss/{name}" for name in TERMS} <= expected[0].keys()
    assert all(expected[0][f"loss/{name}"] > 0.1 for name in TERMS)
    program = programs.program(arch, "2x2x2", loss__accumulate=2, **RECIPE)
    assert_ten_steps(program, programs.start(arch, **RECIPE), expected)
    for kind, shape, *_ in collectives(program.step.as_text()):
        assert kind in ("all-gather", "all-reduce", "collective-permute"), (kind, shape)


def assert_ten_steps(program, start, on_one):
    state, rows = programs.run_steps(program, start, STEPS)
    for step, (row, expected) in enumerate(zip(rows, on_one, strict=True)):
        assert row.keys() == expected.keys()
        for name, value in expected.items():
            # Rounding shows more in a gradient than in a loss, and Adam makes much of a small gradient.
            tolerance = 1e-4 if name == "gradient_norm" else 1e-5
            assert row[name] == pytest.approx(value, rel=tolerance, abs=1e-5), (step, name)
    return state
