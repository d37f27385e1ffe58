"""Sums over all pairs of a batch, and their gradients, without ever holding all pairs.

The logits of N images and N texts are `[N, N]`. Here no such array exists, forward or backward:

- Each device keeps its own n rows (images) and sees the columns (texts) in chunks of at most c. A loss may
  also have texts as rows and images as columns; there needn't be as many of each.
- If the batch is sharded, the devices' columns travel around a ring, with one `ppermute` per turn. They carry
  what is collected for them: statistics in the forward pass, their gradient in the backward pass. On
  accelerators that follows one turn behind, so that all travels while a chip computes. After a full round
  everything is back home, and no device gathers anything of size N.
- A custom VJP recomputes the logits instead of keeping them.

So a device needs memory for `[n, c]`, whatever the number of devices.

A loss is given as a `PairLoss`: what to collect as the columns pass by, and the derivative with respect to a
block of logits. Everything else is the same for all losses.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Bool, DTypeLike, Float, Int

from scenarioclip_jax.arrays import Array

CHUNK = 1024  # columns


class PairBlock(NamedTuple):
    """A device's rows against a chunk of columns."""

    logits: Float[Array, "n c"]
    valid: Bool[Array, "n c"]  # neither slot is empty
    positive: Bool[Array, "n c"]  # valid, and the labels are equal


class Columns(NamedTuple):
    """What travels around the ring. Leaves are [n, ...], or [k, c, ...] once they are cut into k chunks."""

    text: Float[Array, "n D"]
    label: Int[Array, " n *set"]
    known: Any  # about each column; () in the forward pass


class PairLoss(NamedTuple):
    """A loss that is a sum over rows, columns and pairs. `rows` and `columns` are pytrees of [n, ...]."""

    # (number of rows, of columns) -> rows and columns that have seen no pair yet
    start: Callable[[int, int], tuple[Any, Any]]
    add: Callable[
        [Any, PairBlock], tuple[Any, Any]
    ]  # rows after one more block, columns after this one
    merge: Callable[[Any, Any], Any]  # columns that have seen some pairs and others
    value: Callable[[Any, Any], Float[Array, " n"]]  # each row's share of the sum
    gradient: Callable[
        [Any, Any, PairBlock], Float[Array, "n c"]
    ]  # d sum / d logits, 0 where not valid


def product(formula: str, a: Array, b: Array, dtype: DTypeLike) -> Array:
    """A product of factors in `dtype`, summed in float32."""
    exact = jnp.dtype(dtype) == jnp.float32
    return jnp.einsum(
        formula,
        a.astype(dtype),
        b.astype(dtype),
        # Without it, TPUs and GPUs would round float32 factors, and not say so.
        precision=jax.lax.Precision.HIGHEST if exact else None,
        preferred_element_type=jnp.float32,
    )


def pairs(image, text, image_label, text_label, bias, dtype) -> PairBlock:
    """A block of logits; a column with a set of labels is positive for every row that has one of them."""
    logits = product("nd,cd->nc", image, text, dtype) + bias
    used, told = image_label >= 0, text_label >= 0
    if text_label.ndim == 1:
        positive = image_label[:, None] == text_label
    else:
        positive = (image_label[:, None, None] == text_label).any(-1)
        told = told.any(-1)
    return PairBlock(logits, used[:, None] & told, used[:, None] & positive)


def visit(
    step: Callable,
    rows: Any,
    columns: Columns,
    nothing: Any,
    merge: Callable[[Any, Any], Any],
    axes: tuple[str, ...],
    chunk: int,
    *,
    meanwhile: bool,
):
    """Shows all devices' columns to this device's rows, and brings home what was collected for the columns.

    Args:
      step: Function (rows, chunk of columns) -> (new rows, what is collected for that chunk).
      rows: Pytree of this device's rows.
      columns: This device's columns, [n, ...].
      nothing: What is collected for columns that nobody has seen, [n, ...].
      merge: Function of two that were collected for the same columns.
      axes: Mesh axes that the batch is split over; () outside a `shard_map`.
      chunk: Most columns to show at once.
      meanwhile: Whether columns travel while a device computes, or afterwards.

    Returns:
      The rows, and what was collected for this device's columns, [n, ...].
    """
    count = len(columns.label)
    chunks = -(-count // chunk)
    size = -(-count // chunks)

    def cut(x):
        # Chunks are equal; the last one is padded with empty slots, fewer than there are chunks.
        filler = jnp.full((chunks * size - count, *x.shape[1:]), -1, x.dtype)
        return jnp.concatenate([x, filler]).reshape(chunks, size, *x.shape[1:])

    columns, nothing = jax.tree.map(cut, (columns, nothing))
    if not axes:
        rows, collected = jax.lax.scan(step, rows, columns)
    else:
        devices = jax.lax.axis_size(axes)
        ring = [(i, (i + 1) % devices) for i in range(devices)]

        travel = partial(jax.lax.ppermute, axis_name=axes, perm=ring)

        def turn(carry, _):
            rows, columns, collected = carry
            if meanwhile:  # neither depends on what is computed here
                following, arrived = travel((columns, collected))
                rows, fresh = jax.lax.scan(step, rows, columns)
                return (rows, following, merge(arrived, fresh)), None
            rows, fresh = jax.lax.scan(step, rows, columns)
            following, arrived = travel((columns, merge(collected, fresh)))
            return (rows, following, arrived), None

        (rows, _, collected), _ = jax.lax.scan(turn, (rows, columns, nothing), length=devices)
        if meanwhile:  # the last step of the way home
            collected = travel(collected)
    return rows, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], collected)


def travels_meanwhile(sharding: NamedSharding | None) -> bool:
    """Whether columns travel while a device computes: on all but simulated devices.

    On CPU nothing is gained, and XLA of JAX 0.10 then computes something else (losses of NaN) where a program
    for several devices of one process was read from the compilation cache.
    """
    if sharding is None:
        return False
    return next(iter(sharding.device_set)).platform != "cpu"


def on_each_device(function: Callable, sharding: NamedSharding | None, args: tuple, scalars: tuple):
    """Runs `function(*args, *scalars, axes)` on each device's own part of the rows of `args`."""
    if sharding is None or math.prod(sharding.mesh.shape[a] for a in _axes(sharding)) == 1:
        return function(*args, *scalars, axes=())
    mapped = jax.shard_map(
        partial(function, axes=_axes(sharding)),
        mesh=sharding.mesh,
        in_specs=(sharding.spec,) * len(args) + (PartitionSpec(),) * len(scalars),
        out_specs=sharding.spec,
        check_vma=False,  # rows are equal along the other axes, which it can't see in a scan's carry
    )
    return mapped(*args, *scalars)


def _axes(sharding: NamedSharding) -> tuple[str, ...]:
    first = sharding.spec[0]
    return first if isinstance(first, tuple) else (first,)


class PairOptions(NamedTuple):
    """How a sum over pairs is computed.

    Attributes:
      sharding: Sharding of the rows over a mesh; None if one device holds them all.
      chunk: Most columns that a device compares its rows with at once.
      dtype: Type of the factors in products, whose sums are float32. Texts travel in it too.
    """

    sharding: NamedSharding | None = None
    chunk: int = CHUNK
    dtype: DTypeLike = jnp.float32


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def pairwise_sum(
    loss: PairLoss,
    options: PairOptions,
    image: Float[Array, "N D"],
    text: Float[Array, "M D"],
    label: Int[Array, " N"],
    column_label: Int[Array, " M *set"],
    scale: Float[Array, ""],
    bias: Float[Array, ""],
) -> Float[Array, ""]:
    """The sum that `loss` defines over the logits `scale * <image_i, text_j> + bias`.

    Args:
      label: Labels of the rows; a negative one marks an empty slot.
      column_label: Labels of the columns, or sets of labels, filled up with negative ones. Equal labels make a
        positive pair.
    """
    return _forward(loss, options, image, text, label, column_label, scale, bias)[0]


def _forward(loss, options, image, text, label, column_label, scale, bias):
    sharding, chunk, dtype = options
    meanwhile = travels_meanwhile(sharding)

    def local(image, text, label, column_label, scale, bias, axes):
        image = (image * scale).astype(dtype)

        def step(rows, columns):
            return loss.add(rows, pairs(image, columns.text, label, columns.label, bias, dtype))

        rows, nothing = loss.start(len(label), len(column_label))
        traveling = Columns(text.astype(dtype), column_label, ())
        rows, columns = visit(
            step, rows, traveling, nothing, loss.merge, axes, chunk, meanwhile=meanwhile
        )
        return jnp.where(label >= 0, loss.value(rows, columns), 0.0), rows, columns

    inputs = image, text, label, column_label
    values, rows, columns = on_each_device(local, sharding, inputs, (scale, bias))
    return values.sum(), (*inputs, scale, bias, rows, columns)


def _backward(loss, options, residuals, cotangent):
    sharding, chunk, dtype = options
    *inputs, scale, bias, rows, columns = residuals
    meanwhile = travels_meanwhile(sharding)

    def local(image, text, label, column_label, rows, columns, scale, bias, axes):
        scaled = (image * scale).astype(dtype)

        def step(gradients, columns):
            block = pairs(scaled, columns.text, label, columns.label, bias, dtype)
            d_logits = loss.gradient(rows, columns.known, block)
            d_image, d_bias = gradients
            d_image += product("nc,cd->nd", d_logits, columns.text, dtype)
            d_text = product("nc,nd->cd", d_logits, image, dtype)
            return (d_image, d_bias + d_logits.sum(axis=1)), d_text

        traveling = Columns(text.astype(dtype), column_label, columns)
        start = jnp.zeros_like(image), jnp.zeros(len(label))
        (d_image, d_bias), d_text = visit(
            step,
            start,
            traveling,
            jnp.zeros_like(text),
            jnp.add,
            axes,
            chunk,
            meanwhile=meanwhile,
        )
        # Derivative with respect to the scale: that with respect to the logits times the cosines, summed.
        return d_image, d_text, jnp.sum(image * d_image, axis=1), d_bias

    d_image, d_text, d_scale, d_bias = on_each_device(
        local, sharding, (*inputs, rows, columns), (scale, bias)
    )
    embeddings = cotangent * scale * d_image, cotangent * scale * d_text
    return *embeddings, None, None, cotangent * d_scale.sum(), cotangent * d_bias.sum()


pairwise_sum.defvjp(_forward, _backward)
