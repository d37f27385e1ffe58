"""How parameters and everything stored with them are laid out on the mesh, by (regex, axes) rules."""

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from scenarioclip_jax import rules

# Mesh axes by dimension. Blocks are stacked, so their first dimension is depth, which is scanned, not split.
DEFAULT_RULES = (
    (r".*/qkv/kernel", (None, "fsdp", None, "tensor", None)),  # [depth, W, 3, heads, head_dim]
    (r".*/qkv/bias", (None, None, "tensor", None)),
    (r".*/out/kernel", (None, "tensor", None, "fsdp")),  # [depth, heads, head_dim, W]
    (r".*/fc1/kernel", (None, "fsdp", "tensor")),  # [depth, W, M]
    (r".*/fc1/bias", (None, "tensor")),
    (r".*/fc2/kernel", (None, "tensor", "fsdp")),  # [depth, M, W]
    (r"text/stem/\w+/token", (None, "fsdp")),  # [vocabulary, W]
    (r".*", ()),  # norms, other biases, positions, heads: small, one copy per device
)


def parameter_specs(
    shapes: dict[str, jax.ShapeDtypeStruct], mesh: Mesh, axis_rules: rules.Rules = DEFAULT_RULES
) -> dict[str, PartitionSpec]:
    """The partition of each parameter.

    A dimension that isn't divisible by its mesh axis stays whole, since small models must run on any mesh. The
    parameter table of a run shows what was decided.

    Raises:
      ValueError: No rule matches a parameter, or a rule has more axes than the parameter has dimensions.
    """
    chosen = rules.match(axis_rules, shapes, name="sharding")
    specs = {}
    for path, axes in chosen.items():
        shape = shapes[path].shape
        if len(axes) > len(shape):
            raise ValueError(
                f"rules for sharding: {path} has shape {shape} and its rule names {len(axes)} axes"
            )
        fits = [
            axis if axis is not None and size % mesh.shape[axis] == 0 else None
            for axis, size in zip(axes, shape, strict=False)
        ]
        specs[path] = PartitionSpec(*fits)
    return specs


def state_shardings(state: Any, mesh: Mesh, specs: dict[str, PartitionSpec]) -> Any:
    """Shardings of a whole train state, as a tree of the same structure.

    Whatever is kept per parameter (EMA, Adam's moments) is stored under the parameter's path and has its shape,
    so it gets the parameter's sharding. Everything else is replicated.
    """

    def of(path, leaf) -> NamedSharding:
        name = next((key.key for key in reversed(path) if hasattr(key, "key")), "")
        spec = specs.get(name, PartitionSpec()) if leaf.ndim else PartitionSpec()
        return NamedSharding(mesh, spec)

    return jax.tree_util.tree_map_with_path(of, state)
