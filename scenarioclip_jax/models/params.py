"""Parameters as a flat mapping from path to array, the form that rules, checkpoints and converters use."""

import jax
from flax import nnx

Params = dict[str, jax.Array]


def split(model: nnx.Module) -> tuple[nnx.GraphDef, Params]:
    """Takes a model apart. Paths look like `vision/trunk/object/stack/blocks/qkv/kernel`."""
    graph, state = nnx.split(model, nnx.Param)
    flat = nnx.to_flat_state(state)
    return graph, {"/".join(map(str, path)): leaf.get_value() for path, leaf in flat}


def merge(graph: nnx.GraphDef, params: Params) -> nnx.Module:
    """Reassembles a model; the inverse of `split`. Works inside a jitted function."""
    flat = [(tuple(path.split("/")), nnx.Param(value)) for path, value in sorted(params.items())]
    return nnx.merge(graph, nnx.from_flat_state(flat))


def abstract(make_model) -> tuple[nnx.GraphDef, dict[str, jax.ShapeDtypeStruct]]:
    """The graph and the shapes of the parameters that `make_model()` would make, without making them."""
    return split(nnx.eval_shape(make_model))


def create(make_model) -> tuple[nnx.GraphDef, Params]:
    """Makes a model and takes it apart, in one compiled program where Flax alone would run hundreds."""
    graph, _ = abstract(make_model)
    return graph, jax.jit(lambda: split(make_model())[1])()
