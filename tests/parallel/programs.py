"""Train steps of tiny models on simulated meshes, each compiled once a suite, and batches for them."""

import functools
import json
from typing import NamedTuple

import jax
import numpy as np

from scenarioclip_jax.data.batch import Rows, Slots
from scenarioclip_jax.data.packing.fill import empty_batch
from scenarioclip_jax.data.packing.rows import write
from scenarioclip_jax.parallel.mesh import make_mesh, put_batch
from scenarioclip_jax.train.config import resolve
from scenarioclip_jax.train.setup import Run, set_up
from tests.train import tiny

# data x fsdp x tensor, on as many of the eight devices
MESHES = {"1x1x1": (1, 1, 1), "8x1x1": (8, 1, 1), "1x8x1": (1, 8, 1)}
MESHES |= {"2x4x1": (2, 4, 1), "2x2x2": (2, 2, 2)}
# Such programs run for milliseconds: what counts is how long they take to compile. (Without its fusion
# emitters XLA compiles twice as fast still, but JAX 0.10's then computes something else.)
QUICK = {"xla_backend_optimization_level": 0}
EOS = 2


class Program(NamedTuple):
    run: Run
    mesh: jax.sharding.Mesh
    settings: object  # data.settings.DataSettings
    step: object  # compiled: (state, batch) -> (state, metrics)


def mesh_of(name: str) -> jax.sharding.Mesh:
    sizes = MESHES[name]
    devices = jax.devices()[: int(np.prod(sizes))]
    return make_mesh(**dict(zip(("data", "fsdp", "tensor"), sizes, strict=True)), devices=devices)


@functools.cache
def _run(arch: str, mesh: str, changes: str) -> Run:
    config = tiny.config("unused", steps=10, arch=arch, **json.loads(changes))
    config.model.text.eos_id = EOS
    config.loss.distill.scaling = "plain"  # as published, it is too small to show in any comparison
    return set_up(resolve(config), mesh_of(mesh), scenes=160)


@functools.cache
def _program(arch: str, mesh: str, changes: str) -> Program:
    run = _run(arch, mesh, changes)
    lowered = run.train_step.lower(run.state_like, run.batch_like)
    return Program(run, run.mesh, run.settings, lowered.compile(compiler_options=QUICK))


def forget() -> None:
    """Frees the compiled programs, of which a process can't keep many (tests/conftest.py)."""
    _program.cache_clear()
    _run.cache_clear()


def program(arch: str, mesh: str, **changes) -> Program:
    """The compiled train step; `changes` as in `tiny.config`."""
    return _program(arch, mesh, json.dumps(changes, sort_keys=True))


def run(arch: str, mesh: str, **changes) -> Run:
    """The same without compiling anything."""
    return _run(arch, mesh, json.dumps(changes, sort_keys=True))


@functools.cache
def _start(arch: str, changes: str):
    init = _run(arch, "1x1x1", changes).init
    return jax.device_get(init.lower().compile(compiler_options=QUICK)())


def start(arch: str, **changes):
    """The state of step 0 on the host, the same for every mesh."""
    return _start(arch, json.dumps(changes, sort_keys=True))


def place(state, program: Program):
    # A copy: the train step may reuse the memory of what it is given, and on CPU that is the host's own.
    return jax.tree.map(
        lambda x, like: jax.device_put(np.array(x), like.sharding), state, program.run.state_like
    )


def batch(settings, seed: int):
    """Random scenes. Slots are empty here and there; a few texts come several times."""
    rng = np.random.default_rng(seed)
    batch = empty_batch(settings.packing_groups, settings.canvas_size, settings)
    draw = {
        "canvas": lambda shape: rng.integers(0, 256, shape),
        "seed": lambda shape: rng.integers(0, 256, shape),
        "extent": lambda shape: rng.integers(
            settings.canvas_size // 2, settings.canvas_size, shape
        ),
        "photo_size": lambda shape: rng.integers(70, 140, shape),
    }
    for name, values in draw.items():
        array = getattr(batch, name)
        array[:] = values(array.shape)
    for slots in batch.levels.values():
        fill_slots(slots, settings, rng)
    return batch


def fill_slots(slots: Slots, settings, rng) -> None:
    """Random contents of a level."""
    slots.mask[:] = rng.random(slots.mask.shape) < 0.8
    slots.tokens[:] = rng.integers(EOS + 1, 200, slots.tokens.shape)
    slots.tokens[..., -1] = EOS
    slots.text[:] = rng.integers(0, 20, slots.text.shape)
    slots.count[:] = 3
    if slots.text_rows is not None:
        fill_rows(slots.text_rows, rng, picture=False)
    if slots.patch_rows is not None:
        fill_rows(slots.patch_rows, rng, picture=True)
    if slots.box is not None:
        slots.scene[:] = rng.integers(0, settings.scenes, slots.scene.shape)
        corner = rng.uniform(0, settings.image_size / 2, (*slots.box.shape[:-1], 2))
        slots.box[:] = np.concatenate([corner, corner + settings.image_size / 3], axis=-1)
    if slots.region is not None:
        slots.scene[:] = rng.integers(0, settings.scenes, slots.scene.shape)
        slots.region[:] = rng.integers(0, 256, slots.region.shape)
    if slots.ends is not None:
        corner = rng.uniform(0, settings.image_size / 2, (*slots.ends.shape[:-1], 2))
        slots.ends[:] = np.concatenate([corner, corner + settings.image_size / 3], axis=-1)
    if slots.pair is not None:
        slots.pair[:] = rng.integers(0, 3, slots.pair.shape)
    if slots.further is not None:
        fill_further(slots, rng)


def fill_further(slots: Slots, rng) -> None:
    """True and false texts about the filled slots; of a whole scene at most one, a true one."""
    further = slots.further
    assert further is not None
    if slots.region is None:
        further.slot[:] = np.arange(further.slot.shape[1])
    else:
        further.slot[:] = rng.integers(0, slots.mask.shape[1], further.slot.shape)
        further.kind[:] = rng.integers(0, 3, further.kind.shape)
    about = np.take_along_axis(slots.mask, further.slot, axis=1)
    further.text[:] = rng.integers(0, 20, further.text.shape)
    further.mask[:] = about & (rng.random(further.mask.shape) < 0.8)
    further.count[:] = further.mask.sum(1) + 1


def fill_rows(rows: Rows, rng, *, picture: bool) -> None:
    """Sequences of several lengths, one for each slot."""
    groups, slots = rows.read.shape
    count, size = rows.position.shape[1:]
    longest = size // -(-slots // count)  # so that all find room
    for group in range(groups):
        lengths = rng.integers(2, longest + 1, slots)
        starts = write(rows, group, [np.arange(n) for n in lengths])
        rows.read[group] = starts if picture else starts + lengths - 1


def run_steps(program: Program, state, steps: int):
    """The state after so many steps from `state` on the host, and each step's metrics."""
    state, rows = place(state, program), []
    for seed in range(steps):
        state, metrics = program.step(
            state,
            put_batch(program.mesh, batch(program.settings, seed), program.settings.packing_groups),
        )
        rows.append({name: float(value) for name, value in metrics.items()})
    return state, rows
