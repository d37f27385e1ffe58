"""Parameters as a flat mapping from path to array, the form that rules, checkpoints and converters use."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from flax import nnx

Params = dict[str, jax.Array]
Model = TypeVar("Model", bound=nnx.Module)


def split(model: Model) -> tuple[nnx.GraphDef[Model], Params]:
    """Takes a model apart. Paths look like `vision/trunk/object/stack/blocks/qkv/kernel`."""
    return _split(model)


def _split(model: Model) -> tuple[nnx.GraphDef[Model], dict[str, Any]]:
    # Values are arrays, or shapes where the model itself is abstract.
    graph, state = nnx.split(model, nnx.Param)
    flat = nnx.to_flat_state(state)
    return graph, {"/".join(map(str, path)): leaf.get_value() for path, leaf in flat}


def merge(graph: nnx.GraphDef[Model], params: Params) -> Model:
    """Reassembles a model; the inverse of `split`. Works inside a jitted function."""
    flat = [(tuple(path.split("/")), nnx.Param(value)) for path, value in sorted(params.items())]
    return nnx.merge(graph, nnx.from_flat_state(flat))


def abstract(
    make_model: Callable[[], Model],
) -> tuple[nnx.GraphDef[Model], dict[str, jax.ShapeDtypeStruct]]:
    """The graph and the shapes of the parameters that `make_model()` would make, without making them."""
    return _split(nnx.eval_shape(make_model))


def create(make_model: Callable[[], Model]) -> tuple[nnx.GraphDef[Model], Params]:
    """Makes a model and takes it apart, in one compiled program where Flax alone would run hundreds."""
    graph, _ = abstract(make_model)
    return graph, jax.jit(lambda: split(make_model())[1])()
