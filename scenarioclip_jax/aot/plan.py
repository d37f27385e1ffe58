"""Plans what a train step takes on a TPU pod, compiled from shapes on a machine without a TPU.

It is exactly the step of `train.loop`, with the same `set_up`, mesh, shardings and donation.
"""

import contextlib
import math
import time
from importlib import metadata
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from scenarioclip_jax.aot.topology import compiler_limit, pod, read_refusal
from scenarioclip_jax.command import naming
from scenarioclip_jax.costs import memory
from scenarioclip_jax.costs.chips import Chip, chip_of
from scenarioclip_jax.costs.collectives import collectives, summary
from scenarioclip_jax.costs.roofline import MFU_REACHED, roofline, seconds_at
from scenarioclip_jax.parallel.mesh import batch_ways, make_mesh
from scenarioclip_jax.train import config as configs
from scenarioclip_jax.train.setup import loss_dtype, set_up, step_flops

SCENES_PER_GROUP = 16  # in the published set-up: a batch of 128 in 8 groups


class Pod(NamedTuple):
    """Devices to compile for, as a mesh."""

    name: str
    chip: Chip
    mesh: jax.sharding.Mesh
    limit: int  # bytes of a device's memory that a program may use

    @property
    def ways(self) -> int:
        """Number of parts that the batch is split into."""
        return batch_ways(self.mesh)


def open_pod(name: str, config: ConfigDict) -> Pod:
    """Opens the pod of a given name with the config's mesh.

    Raises:
      TopologyError: There is no such pod, or no compiler for it.
      ConfigError: The mesh doesn't fit the pod.
    """
    devices = pod(name)
    with naming("mesh"):
        mesh = make_mesh(**config.mesh, devices=devices)
    return Pod(name, chip_of(devices[0].device_kind), mesh, compiler_limit(devices[0]))


def fit_batch(config: ConfigDict, ways: int, scenes: int | None = None) -> dict[str, int]:
    """Changes the config so that the mesh can split its batch, if it can't yet.

    Args:
      ways: Number of parts that the mesh splits the batch into.
      scenes: Scenes in each part, in groups about as large as the config's; if not given, the number that
        `data.batch_size` implies, rounded up.

    Returns:
      The changed values by key; a real run needs them too.
    """
    parts = config.loss.accumulate
    groups, size = config.data.packing_groups, config.data.batch_size
    row = config.data.patch_row_views if config.model.patch_packing else 1
    if min(parts, groups, size, row) < 1:
        return {}  # `config.check` explains this case
    wanted = size / groups
    if scenes is None:
        wanted = SCENES_PER_GROUP
        if groups % (ways * parts) == 0 and size % groups == 0:
            return {}
        scenes = max(1, -(-size // ways))
    # Each device and each part of `loss.accumulate` gets whole groups; a group has whole rows of patches.
    scenes = -(-scenes // (parts * row)) * parts * row
    choices = [n for n in range(parts, scenes + 1, parts) if scenes % (n * row) == 0]
    groups = min(choices, key=lambda n: abs(math.log(scenes / n / wanted)))
    changed = {"data.batch_size": scenes * ways, "data.packing_groups": groups * ways}
    config.data.update(batch_size=scenes * ways, packing_groups=groups * ways)
    return changed


class Step(NamedTuple):
    """A train step that isn't compiled yet, and its arguments."""

    jitted: Any
    state: Any  # of jax.ShapeDtypeStruct with shardings
    batch: Any
    flops: Any  # costs.flops.Flops
    loss_dtype: str


def build(config: ConfigDict, where: Pod, *, focus_images: bool) -> Step:
    """The train step that `config` describes, on the pod.

    Raises:
      ConfigError: The config can't be run there.
    """
    configs.check(config, batch_ways=where.ways, reads_data=False)
    config = configs.resolve(config)
    settings = configs.data_settings(config, focus_images=focus_images)
    # The number of scenes decides the learning-rate schedule, not the cost of a step.
    run = set_up(config, where.mesh, scenes=settings.batch_size, focus_images=focus_images)
    dtype = loss_dtype(config, where.mesh)
    return Step(run.train_step, run.state_like, run.batch_like, step_flops(run), dtype)


def state_bytes(config: ConfigDict, where: Pod, scenes: int) -> int:
    """Bytes of parameters and optimizer state on one device, which a step takes for any batch.

    Args:
      scenes: Scenes per device; any number that the config allows.
    """
    config = config.copy_and_resolve_references()
    fit_batch(config, where.ways, scenes)
    step = build(config, where, focus_images=False)
    found = memory.state_memory(step.state, step.batch)
    return found.parameters + found.optimizer


@contextlib.contextmanager
def effort(quick: bool):
    """Uses the compiler's least effort if `quick`, else its usual effort."""
    usual = jax.config.jax_exec_time_optimization_effort
    jax.config.update("jax_exec_time_optimization_effort", -1.0 if quick else usual)
    try:
        yield
    finally:
        jax.config.update("jax_exec_time_optimization_effort", usual)


def plan(
    config: ConfigDict,
    where: Pod,
    *,
    scenes: int | None = None,
    quick: bool = False,
    focus_images: bool = False,
) -> dict[str, Any]:
    """Compiles the train step and collects what it takes, as JSON values.

    Args:
      scenes: Scenes per device; if not given, the number that the config's batch implies.
      quick: Whether to compile with the least effort. Memory hardly differs; the program would run slower.
      focus_images: Whether the data has focused regions stored as images.

    Returns:
      `fits`, and figures in bytes per device, FLOPs over all devices, and seconds; see `figures`.
    """
    config = config.copy_and_resolve_references()
    changed = fit_batch(config, where.ways, scenes)
    step = build(config, where, focus_images=focus_images)
    report = {
        "topology": where.name,
        "devices": where.mesh.size,
        "chip": where.chip.name,
        "mesh": dict(where.mesh.shape),
        "preset": config.preset,
        "jax": jax.__version__,
        "libtpu": metadata.version("libtpu"),
        "quick": quick,
        "changed": changed,
        "global_batch": config.data.batch_size,
        "scenes_per_device": config.data.batch_size // where.ways,
        "groups": config.data.packing_groups,
        "settings": _settings(config),
        "limit": where.limit,
    }
    started = time.perf_counter()
    try:
        with effort(quick):
            compiled = step.jitted.lower(step.state, step.batch).compile()
    except jax.errors.JaxRuntimeError as error:
        refusal = read_refusal(str(error))
        if refusal is None:
            raise
        compiled, needed = None, refusal[0]
    report["compile_seconds"] = time.perf_counter() - started
    if compiled is None:
        held = memory.state_memory(step.state, step.batch)._asdict()
        return report | {"fits": False, "needed": needed, "memory": held}
    return report | figures(step, compiled, where, config.loss.accumulate)


def figures(step: Step, compiled: jax.stages.Compiled, where: Pod, parts: int) -> dict[str, Any]:
    """What a compiled step takes, as JSON values."""
    takes, held = memory.program_memory(compiled), memory.state_memory(step.state, step.batch)
    text = compiled.as_text()
    chips = where.chip, where.mesh.size
    bound = roofline(*chips, step.flops, takes, collectives(text), parts, step.loss_dtype)
    ideal = seconds_at(1.0, *chips, step.flops)
    return {
        # The compiler also accepts programs whose live arrays never exceed the limit but which need more once
        # they are laid out in memory. Whether those run was never tried.
        "fits": takes.total <= where.limit,
        "needed": takes.total,
        "memory": held._asdict()
        | {
            "arguments": takes.arguments,
            "results": takes.results,
            "activations": takes.temporary,
            "program": takes.code,
        },
        "flops": {
            "model": step.flops.model,
            "hardware": step.flops.hardware,
            "by_part": {name: count._asdict() for name, count in step.flops.by_part.items()},
        },
        "collectives": summary(text),
        "roofline": bound._asdict()
        | {"seconds": bound.seconds, "limit": bound.limit, "mfu": ideal / bound.seconds},
        # What the roofline takes longer for than that isn't to be expected faster.
        "seconds_at_mfu": {str(mfu): max(ideal / mfu, bound.seconds) for mfu in MFU_REACHED},
    }


def _settings(config: ConfigDict) -> dict[str, Any]:
    """The settings that memory depends on most."""
    return {
        "model.dtype": config.model.dtype,
        "model.remat": config.model.remat,
        "model.share_stem": config.model.share_stem,
        "model.patch_packing": config.model.patch_packing,
        "loss.accumulate": config.loss.accumulate,
    }
