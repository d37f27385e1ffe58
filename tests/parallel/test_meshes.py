"""A run is the same run on any mesh."""

import functools
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from scenarioclip_jax.parallel import mesh as meshes
from tests.conftest import forget_compiled_programs
from tests.parallel import programs

STEPS = 10
SHARDED = [name for name in programs.MESHES if name != "1x1x1"]
# Compiling takes all the time. The architecture that has every part of the others sees all meshes where only
# quick tests run, the others the mesh that has all axes. It comes last: another test file compiles its programs
# too, and what either has compiled is kept for the other.
QUICK = [(arch, "2x2x2") for arch in ("clip", "pyramid_clip", "scenario_clip_0")]
SLOW = [(arch, mesh) for arch, _ in QUICK for mesh in SHARDED if (arch, mesh) not in QUICK]
CASES = [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]
CASES += [("scenario_clip_1", mesh) for mesh in SHARDED]
PACKED = {"model__patch_packing": True, "model__share_stem": True, "data__text_row_tokens": 32}
PACKED |= {"ema__keep": "teacher"}


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
def on_one_device(arch, packed=False):
    changes = PACKED if packed else {}
    program, start = programs.program(arch, "1x1x1", **changes), programs.start(arch, **changes)
    _, rows = programs.run_steps(program, start, STEPS)
    assert rows[-1]["loss/total"] < rows[0]["loss/total"]
    return rows


@pytest.fixture(autouse=True)
def _forget_each_mesh():
    """More programs than a process can hold come along here."""
    yield
    forget_compiled_programs()


@pytest.mark.parametrize(("arch", "mesh"), CASES)
def test_ten_steps_as_on_one_device(arch, mesh):
    state = assert_ten_steps(
        programs.program(arch, mesh), programs.start(arch), on_one_device(arch)
    )

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


def test_ten_packed_steps_as_on_one_device():
    """Packed patches and texts, levels joined in one stem: groups stay where they are."""
    program = programs.program("scenario_clip_1", "2x2x2", **PACKED)
    start = programs.start("scenario_clip_1", **PACKED)
    assert_ten_steps(program, start, on_one_device("scenario_clip_1", packed=True))


def assert_ten_steps(program, start, on_one):
    state, rows = programs.run_steps(program, start, STEPS)
    for step, (row, expected) in enumerate(zip(rows, on_one, strict=True)):
        assert row.keys() == expected.keys()
        for name, value in expected.items():
            # Rounding shows more in a gradient than in a loss, and Adam makes much of a small gradient.
            tolerance = 1e-4 if name == "gradient_norm" else 1e-5
            assert row[name] == pytest.approx(value, rel=tolerance, abs=1e-5), (step, name)
    return state
