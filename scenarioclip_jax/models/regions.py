"""Embeddings of objects and relations from one pass over the photo: its patch tokens, pooled over boxes.

The alternative, as published, is a view for each object and relation with all else black. Here the tower sees
a photo once, and each box reads out the tokens that it covers (as RoI pooling does; Girshick 2015, He et al.
2017), so a token also knows what is around its box.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from scenarioclip_jax.arrays import Array
from scenarioclip_jax.data.batch import Boxes

REGIONS = ("views", "pooled")
# Attention's logits are kept within ±this, so that no box finds all of its tokens at 0.
_LIMIT = 10.0
GEOMETRY = 8  # numbers that say how two boxes lie to each other


class RegionPool(nnx.Module):
    """Attention over the patch tokens under a box, with one learned query for each head.

    A query's logits don't depend on the box. So exp(logit) * value is computed once for each token, and a box
    sums what it covers: however many boxes there are, this costs two products.

    Args:
      width: Width W of the tokens.
      heads: Number of heads; must divide W.
    """

    def __init__(self, width: int, heads: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.heads = heads
        init = nnx.initializers.normal(width**-0.5)
        self.score = nnx.Linear(width, heads, kernel_init=init, dtype=dtype, rngs=rngs)
        self.value = nnx.Linear(width, width, kernel_init=init, dtype=dtype, rngs=rngs)

    def __call__(
        self, tokens: Float[jax.Array, "G S T W"], boxes: Boxes
    ) -> Float[Array, "G N E W"]:
        """Pools square grids of patch tokens over each box; a patch counts by the share that the box covers."""
        groups, scenes, count, width = tokens.shape
        limited = _LIMIT * jnp.tanh(self.score(tokens).astype(jnp.float32) / _LIMIT)
        weight = jnp.exp(limited)[..., None]  # [G, S, T, heads, 1]
        value = self.value(tokens).reshape(groups, scenes, count, self.heads, -1)
        summands = jnp.concatenate([weight * value, weight], axis=-1)
        covered = coverage(boxes.box, round(count**0.5))  # [G, N, E, T]
        own = jax.nn.one_hot(boxes.scene, scenes, dtype=covered.dtype)  # [G, N, S]
        # A product with the tokens of all scenes of the group, most of them times 0, is cheaper than a copy of
        # its own scene's tokens for every box.
        where = covered[..., None, :] * own[:, :, None, :, None]
        sums = jnp.einsum("gnest,gsthd->gnehd", where, summands)
        pooled = sums[..., :-1] / jnp.maximum(sums[..., -1:], 1e-12)
        return pooled.reshape(*pooled.shape[:-2], width)


class Regions(nnx.Module):
    """Objects and relations of a photo, read out of its patch tokens.

    Args:
      width: Width W of the tokens.
      heads: Number of attention's heads; must divide W.
      parts: Parts of an object's box along each side that are pooled besides the box itself; 1: none.
      ends_as_objects: Whether a relation also reads what its two ends are as objects.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        parts: int,
        *,
        ends_as_objects: bool = False,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        run = {"dtype": dtype, "rngs": rngs}
        self.ends_as_objects = ends_as_objects
        read = 2 * width if ends_as_objects else width
        of_boxes = {
            "object": BoxHead(width, parts, **run),
            "relation": PairHead(read, width, **run),
        }
        self.pool = nnx.Dict({level: RegionPool(width, heads, **run) for level in of_boxes})
        self.boxes = nnx.Dict(of_boxes)

    def __call__(
        self, tokens: Float[jax.Array, "G S T W"], boxes: Mapping[str, Boxes]
    ) -> dict[str, Float[jax.Array, "G _ W"]]:
        """Features of boxes, by level."""
        things = {"object": boxes["object"]} if "object" in boxes else {}
        if self.ends_as_objects and "relation" in boxes:
            things["end"] = _apart(boxes["relation"])
        found = self._objects(tokens, things)
        if (where := boxes.get("relation")) is not None:
            pooled = self.pool["relation"](tokens, where)
            ends = (
                found.pop("end").reshape(pooled.shape) if self.ends_as_objects else pooled[..., :0]
            )
            found["relation"] = self.boxes["relation"](pooled, ends, where.box)
        return found

    def _objects(
        self, tokens: Float[jax.Array, "G S T W"], things: Mapping[str, Boxes]
    ) -> dict[str, Float[jax.Array, "G _ W"]]:
        """What is in each box, pooled together for all kinds of things."""
        if not things:
            return {}
        scene, box = (jnp.concatenate(each, 1) for each in zip(*things.values(), strict=True))
        head = self.boxes["object"]
        features = head(self.pool["object"](tokens, Boxes(scene, head.pooled(box))))
        ends = np.cumsum([each.scene.shape[1] for each in things.values()])
        return dict(zip(things, jnp.split(features, ends[:-1], axis=1), strict=True))


def _apart(boxes: Boxes) -> Boxes:
    """The two ends of each relation as slots of their own, one after the other."""
    groups = boxes.scene.shape[0]
    return Boxes(jnp.repeat(boxes.scene, 2, axis=1), boxes.box.reshape(groups, -1, 1, 4))


class Mlp(nnx.Module):
    """Two linear layers with a GELU between them: from `inputs` to W features."""

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        expand_init: nnx.Initializer | None = None,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        run = {"dtype": dtype, "rngs": rngs}
        init = nnx.initializers.normal
        expand_init = expand_init or init(inputs**-0.5)
        self.expand = nnx.Linear(inputs, 4 * width, kernel_init=expand_init, **run)
        self.reduce = nnx.Linear(4 * width, width, kernel_init=init((4 * width) ** -0.5), **run)

    def hidden(self, x: Float[jax.Array, "*N inputs"]) -> jax.Array:
        return jax.nn.gelu(self.expand(x), approximate=False)


def _side_by_side(*inputs: int) -> nnx.Initializer:
    """Starts a kernel whose rows belong to several inputs, each as if the layer read it alone."""

    def init(key, shape, dtype=jnp.float32):
        keys = jax.random.split(key, len(inputs))
        rows = [
            nnx.initializers.normal(count**-0.5)(each, (count, shape[1]), dtype)
            for each, count in zip(keys, inputs, strict=True)
        ]
        return jnp.concatenate(rows)

    return init


class BoxHead(Mlp):
    """What is in one box: a + f(a), where a is what was pooled over it.

    Pooling over a whole box says what is in it, but not where, and a shape is where its ends are. So the parts
    of the box are pooled, too, and what a matrix M makes of all of them is added to a.

    Args:
      width: Width W of the pooled tokens.
      parts: Parts along each side; 1: only the whole box is pooled.
    """

    def __init__(self, width: int, parts: int = 1, **run):
        super().__init__(width, width, **run)
        self.parts = parts
        if parts > 1:
            inputs = parts**2 * width
            init = nnx.initializers.normal(inputs**-0.5)
            self.mix = nnx.Linear(inputs, width, use_bias=False, kernel_init=init, **run)

    def pooled(self, box: Float[Array, "G N one 4"]) -> Float[Array, "G N one_and_parts 4"]:
        """The boxes to pool: the whole, then its parts row by row."""
        return box if self.parts == 1 else jnp.concatenate([box, cut_box(box, self.parts)], -2)

    def __call__(
        self, pooled: Float[jax.Array, "G N one_and_parts W"]
    ) -> Float[jax.Array, "G N W"]:
        one = pooled[..., 0, :]
        if self.parts > 1:
            one = one + self.mix(pooled[..., 1:, :].reshape(*one.shape[:-1], -1))
        return one + self.reduce(self.hidden(one))


class PairHead(Mlp):
    """What two boxes are to each other, whichever comes first: (a + b) / 2 + f(a, b) + f(b, a).

    So a relation's embedding can't tell its subject from its object by their order, which is known from the
    annotation only: a text has to say it.

    How the boxes lie to each other is a few numbers beside hundreds, so it starts with weights as large as if
    it were alone: with those of one layer for all, many steps pass before it counts.

    Args:
      read: Numbers that are read of each end: its pooled token, and what it is as an object if that is read.
      width: Width W of the pooled tokens.
    """

    def __init__(self, read: int, width: int, **run):
        init = _side_by_side(2 * read, GEOMETRY)
        super().__init__(2 * read + GEOMETRY, width, expand_init=init, **run)

    def __call__(
        self,
        pooled: Float[jax.Array, "G N two W"],
        objects: Float[jax.Array, "G N two W_or_none"],
        box: Float[Array, "G N two 4"],
    ) -> Float[jax.Array, "G N W"]:
        # Both orders at once, [G, N, two, ...], so that they are computed alike to the last bit.
        ends = jnp.concatenate([pooled, objects], axis=-1)
        lies = geometry(box, box[..., ::-1, :])
        both = self.hidden(jnp.concatenate([ends, ends[..., ::-1, :], lies], axis=-1))
        return pooled.mean(-2) + self.reduce(both.sum(-2))


def cut_box(box: Float[Array, "*V one 4"], parts: int) -> Float[Array, "*V parts_parts 4"]:
    """Cuts each box into parts * parts equal ones, row by row."""
    x0, y0, x1, y1 = jnp.moveaxis(box, -1, 0)  # [*V, 1]
    row, column = jnp.divmod(jnp.arange(parts**2), parts)
    width, height = (x1 - x0) / parts, (y1 - y0) / parts
    left, top = x0 + column * width, y0 + row * height
    return jnp.stack([left, top, left + width, top + height], axis=-1)


def coverage(box: Float[Array, "*V 4"], grid: int) -> Float[Array, "*V patches"]:
    """The share of each patch that a box covers, patches row by row.

    A box of which the view shows nothing counts as the patch next to it.
    """
    start = jnp.arange(grid, dtype=jnp.float32)

    def along(low: Array, high: Array) -> Array:
        # No box is thinner than a hundredth of a patch, or outside.
        low = jnp.clip(low * grid, 0, grid - 0.01)
        high = jnp.clip(high * grid, low + 0.01, grid)
        covered = jnp.minimum(start + 1, high[..., None]) - jnp.maximum(start, low[..., None])
        return jnp.clip(covered, 0, 1)

    x0, y0, x1, y1 = jnp.moveaxis(box, -1, 0)
    shares = along(y0, y1)[..., :, None] * along(x0, x1)[..., None, :]
    return shares.reshape(*shares.shape[:-2], grid * grid)


def geometry(a: Float[Array, "*V 4"], b: Float[Array, "*V 4"]) -> Float[Array, "*V features"]:
    """How box a lies to box b: offset as shares of the view, direction, sizes, overlap."""
    ax0, ay0, ax1, ay1 = jnp.moveaxis(a, -1, 0)
    bx0, by0, bx1, by1 = jnp.moveaxis(b, -1, 0)
    least = 1e-3
    area_a = jnp.maximum((ax1 - ax0) * (ay1 - ay0), least)
    area_b = jnp.maximum((bx1 - bx0) * (by1 - by0), least)
    wide = jnp.maximum(jnp.minimum(ax1, bx1) - jnp.maximum(ax0, bx0), 0)
    high = jnp.maximum(jnp.minimum(ay1, by1) - jnp.maximum(ay0, by0), 0)
    both = wide * high
    dx, dy = (ax0 + ax1 - bx0 - bx1) / 2, (ay0 + ay1 - by0 - by1) / 2
    distance = jnp.sqrt(dx * dx + dy * dy + least)
    features = (dx, dy, dx / distance, dy / distance, jnp.log(area_a / area_b) / 2)
    features += (jnp.sqrt(area_a), both / area_a, both / area_b)
    return jnp.stack(features, axis=-1)
