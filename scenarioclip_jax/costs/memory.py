"""Memory of a device, from shapes and shardings and from the compiler's own figures."""

import math
from typing import Any, NamedTuple

import jax


class StateMemory(NamedTuple):
    """Bytes of a train state and a batch on one device."""

    parameters: int  # trained, frozen and the teacher's
    optimizer: int
    batch: int


def device_bytes(tree: Any) -> int:
    """Bytes on one device of a tree of arrays, or of `jax.ShapeDtypeStruct`, with shardings."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


def state_memory(state: Any, batch: Any) -> StateMemory:
    """Memory of a `TrainState` and a `Batch`, both of `jax.ShapeDtypeStruct` with shardings."""
    optimizer = device_bytes(state.opt_state)
    return StateMemory(device_bytes(state) - optimizer, optimizer, device_bytes(batch))


class ProgramMemory(NamedTuple):
    """Memory of a program on one device according to the compiler, in bytes."""

    arguments: int
    results: int  # results that don't reuse an argument's memory
    temporary: int  # activations, gradients and everything else that lives only during a step
    code: int

    @property
    def total(self) -> int:
        return sum(self)


def program_memory(compiled: jax.stages.Compiled) -> ProgramMemory:
    found = compiled.memory_analysis()
    if found is None:
        raise RuntimeError("the compiler doesn't say what memory a program takes on this device")
    return ProgramMemory(
        arguments=found.argument_size_in_bytes,
        # The state's arrays are donated, so new ones are written into their memory.
        results=found.output_size_in_bytes - found.alias_size_in_bytes,
        temporary=found.temp_size_in_bytes,
        code=found.generated_code_size_in_bytes,
    )
