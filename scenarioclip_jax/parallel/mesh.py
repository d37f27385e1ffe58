"""The device mesh. One device is a mesh too: there is one code path from a laptop to a pod.

| axis     | splits                                             |
| -------- | -------------------------------------------------- |
| `data`   | the batch                                          |
| `fsdp`   | the batch, and parameters with their optimizer state |
| `tensor` | attention heads and MLP units                      |
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "fsdp", "tensor")
BATCH_AXES = ("data", "fsdp")
BATCH_SPEC = PartitionSpec(BATCH_AXES)  # of every array in a `Batch`: packing groups


def make_mesh(*, data: int = -1, fsdp: int = 1, tensor: int = 1, devices=None) -> Mesh:
    """A mesh over all devices of all processes.

    Args:
      data, fsdp, tensor: Sizes of the axes; one may be -1, which takes what the others leave.
      devices: Devices to use instead of `jax.devices()`.

    Raises:
      ValueError: The sizes don't multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = {"data": data, "fsdp": fsdp, "tensor": tensor}
    free = [name for name, size in sizes.items() if size == -1]
    known = int(np.prod([size for size in sizes.values() if size != -1]))
    if len(free) == 1 and known > 0 and len(devices) % known == 0:
        sizes[free[0]] = len(devices) // known
    if min(sizes.values()) < 1 or int(np.prod(list(sizes.values()))) != len(devices):
        wanted = " x ".join(f"{name}={size}" for name, size in sizes.items())
        raise ValueError(
            f"config.mesh: {wanted} can't be laid over {len(devices)} devices; the sizes must multiply to "
            "that number, and one of them may be -1"
        )
    # Auto lets the compiler propagate shardings; `make_mesh` defaults to explicit axes.
    return jax.make_mesh(
        tuple(sizes.values()), AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices
    )


def batch_ways(mesh: Mesh) -> int:
    """The number of parts that the batch is split into; it must divide the number of packing groups."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def batch_sharding(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, BATCH_SPEC)


def keep_batch_split(x: jax.Array) -> jax.Array:
    """Tells the compiler that `x` is split along its first axis, as the batch is, and along no other.

    If activations and a parameter are both split over `fsdp`, the compiler has to choose which of them to
    gather. Left alone it may split activations along their width and hold the whole batch on every device. With
    this constraint it gathers a layer's parameters when the layer runs, which is what FSDP means.
    """
    return _constrain(x, BATCH_SPEC)


def on_parts(function: Callable, shape: Sequence[int]) -> Callable:
    """Makes each device run `function` on its own part of the batch and of the heads.

    The compiler doesn't know how to split what it can't look into, such as a kernel.

    Args:
      function: Of arrays [rows, tokens, heads, width] and then arrays [rows, tokens], to one like the first.
      shape: Of the first array. An axis that the mesh doesn't divide is gathered on every device.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if not set(AXES) <= set(mesh.axis_names) or mesh.size == 1:
        return function
    ways = mesh.shape["data"] * mesh.shape["fsdp"]
    rows = BATCH_AXES if shape[0] % ways == 0 else None
    heads = "tensor" if shape[2] % mesh.shape["tensor"] == 0 else None
    large = PartitionSpec(rows, None, heads)
    # A kernel's results don't say along which axes they are equal.
    return jax.shard_map(
        function,
        in_specs=(large, large, large, PartitionSpec(rows)),
        out_specs=large,
        check_vma=False,
    )


def gather_parameter(parameter: jax.Array) -> jax.Array:
    """Gathers the whole parameter on every device for the moment in which it is used."""
    return _constrain(parameter, PartitionSpec())


def _constrain(x: jax.Array, spec: PartitionSpec) -> jax.Array:
    # The mesh is the one that `jax.sharding.use_abstract_mesh` sets; without one, this does nothing.
    mesh = jax.sharding.get_abstract_mesh()
    if not set(BATCH_AXES) <= set(mesh.axis_names):
        return x
    return jax.lax.with_sharding_constraint(x, spec)


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def local_groups(mesh: Mesh, groups: int) -> list[int]:
    """The packing groups, out of `groups` in a global batch, that this process's devices hold, in order.

    Two processes hold the same groups if the tensor axis spans both.
    """
    held: set[int] = set()
    for index in batch_sharding(mesh).addressable_devices_indices_map((groups,)).values():
        assert index is not None  # an addressable device holds a part
        held.update(range(groups)[index[0]])
    return sorted(held)


def put_batch(mesh: Mesh, batch, groups: int):
    """Assembles the global batch as sharded arrays.

    Args:
      batch: Pytree of NumPy arrays with `local_groups(mesh, groups)` along their first axis.
      groups: Number of packing groups in the global batch.
    """
    sharding = batch_sharding(mesh)
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    row = {group: i for i, group in enumerate(local_groups(mesh, groups))}

    def put(x: np.ndarray) -> jax.Array:
        def part(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None  # only addressable devices are asked for
            wanted = range(groups)[index[0]]  # contiguous here too, because rows are in order
            return x[row[wanted[0]] : row[wanted[-1]] + 1]

        return jax.make_array_from_callback((groups, *x.shape[1:]), sharding, part)

    return jax.tree.map(put, batch)
