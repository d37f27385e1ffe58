"""Fused attention for TPUs: a kernel in Pallas that holds the weights of one tile of queries at a time.

A row's queries, keys and values lie in fast memory as they lie in the tower, [tokens, heads * width], so that
heads narrower than a tile are not filled up. A tile of 128 queries sees the window of tiles that holds tokens
of its sequences; no other products are computed. The softmax of a tile is whole, so the backward pass needs
nothing but queries, keys and values: it computes the weights again (Dao et al. 2022, section 3.1).

Along the lanes of a tile lie the heads side by side, two of width 64. A product with the other heads' lanes set
to zero is that of one head, which costs a matrix unit of 128 x 128 the same.

It was compiled for v5e, v5p, v6e and TPU7x, and computes the right thing when it is interpreted; it never ran
on a TPU. Why not one of the kernels that come with JAX: benchmarks/README.md.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Float, Int

from scenarioclip_jax.arrays import Array
from scenarioclip_jax.parallel.mesh import on_parts

TILE = 128  # tokens, and lanes
NOBODY = -1  # the number of tokens that fill a row up
MASKED = -0.7 * float(
    jnp.finfo(jnp.float32).max
)  # what a token doesn't see; its difference is finite
# Windows have at most so many lengths, since each is compiled.
LENGTHS = 8
# Tokens times tiles of lanes that a step of the grid holds: more steps cost time, larger ones memory.
HELD = 1024


@dataclasses.dataclass(frozen=True)
class Layout:
    """What the kernels are compiled for.

    Attributes:
      tokens: Of a row, in whole tiles.
      lanes: Of all heads, in whole chunks.
      chunk: Lanes of the heads that are computed together.
      heads: Number of heads in a chunk.
      scale: Factor on the products of queries with keys.
      interpret: Whether to run on any platform, slowly, without compiling the kernels.
    """

    tokens: int
    lanes: int
    chunk: int
    heads: int
    scale: float
    causal: bool
    interpret: bool

    @property
    def tiles(self) -> int:
        return self.tokens // TILE

    @property
    def lengths(self) -> list[int]:
        """Lengths that a window may have, in tiles."""
        step = -(-self.tiles // LENGTHS)
        return sorted({*range(step, self.tiles, step), self.tiles})

    @property
    def held(self) -> int:
        """Chunks that a step of the grid holds."""
        chunks = self.lanes // self.chunk
        fits = max(1, HELD * TILE // (self.tokens * self.chunk))
        return max(n for n in range(1, chunks + 1) if chunks % n == 0 and n <= fits)


def attend(
    query: Float[Array, "N T heads width"],
    key: Float[Array, "N T heads width"],
    value: Float[Array, "N T heads width"],
    sequence: Int[Array, "N T"] | None,
    *,
    causal: bool,
    interpret: bool = False,
) -> Float[jax.Array, "N T heads width"]:
    """Attention as `models.attention.attend` describes it; tokens with a negative number get finite values.

    Args:
      interpret: Whether to run on any platform, slowly, without compiling the kernels.
    """
    if sequence is None:
        sequence = jnp.zeros(query.shape[:2], jnp.int32)
    on_one = functools.partial(_on_one_device, causal=causal, interpret=interpret)
    return on_parts(on_one, query.shape)(query, key, value, sequence)


def _on_one_device(query, key, value, sequence, *, causal: bool, interpret: bool):
    rows, tokens, heads, width = query.shape
    room = next((n for n in (8, 16, 32, 64) if width <= n), _up(width, TILE))
    chunk = max(room, TILE)
    layout = Layout(
        tokens=_up(tokens, TILE),
        lanes=_up(heads * room, chunk),
        chunk=chunk,
        heads=chunk // room,
        scale=width**-0.5,
        causal=causal,
        interpret=interpret,
    )
    short = layout.tokens - tokens

    def laid(x):
        x = jnp.pad(x, ((0, 0), (0, short), (0, layout.lanes // room - heads), (0, room - width)))
        return x.reshape(rows, layout.tokens, layout.lanes)

    sequence = jnp.pad(sequence, ((0, 0), (0, short)), constant_values=NOBODY)
    windows = windows_of(sequence, layout)
    attended: jax.Array = _fused(
        layout, laid(query), laid(key), laid(value), sequence[:, None], windows
    )
    return attended.reshape(rows, layout.tokens, -1, room)[:, :tokens, :heads, :width]


def _up(size: int, step: int) -> int:
    return -(-size // step) * step


def windows_of(sequence: Int[jax.Array, "N T"], layout: Layout) -> Int[jax.Array, "N 1 bounds"]:
    """For each tile of queries in turn the first tile that it sees, and how many; 0 if none."""
    tiles = sequence.reshape(len(sequence), layout.tiles, TILE)
    same = tiles[:, :, None, :, None] == tiles[:, None, :, None, :]
    seen = (same & (tiles >= 0)[:, :, None, :, None]).any((-2, -1))  # [N, tiles, tiles]
    if layout.causal:
        seen &= jnp.tri(layout.tiles, dtype=bool)
    first = jnp.argmax(seen, axis=-1)
    after = layout.tiles - jnp.argmax(seen[..., ::-1], axis=-1)
    lengths = jnp.asarray(layout.lengths)
    length = lengths[jnp.searchsorted(lengths, after - first)]
    first = jnp.minimum(first, layout.tiles - length)
    window = jnp.stack([first, jnp.where(seen.any(-1), length, 0)], axis=-1)
    return window.reshape(len(sequence), 1, -1).astype(jnp.int32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _fused(layout: Layout, query, key, value, sequence, windows) -> jax.Array:
    (attended,) = _call(_forward, 1, (), layout, windows, sequence, query, key, value)
    return attended


def _fused_forward(layout: Layout, query, key, value, sequence, windows):
    arrays = query, key, value, sequence, windows
    return _fused(layout, *arrays), arrays


def _fused_backward(layout: Layout, arrays, gradient):
    query, key, value, sequence, windows = arrays
    scratch = [pltpu.VMEM((layout.tokens, layout.chunk), jnp.float32)] * 2
    given = windows, sequence, query, key, value, gradient.astype(query.dtype)
    return *_call(_backward, 3, scratch, layout, *given), None, None


_fused.defvjp(_fused_forward, _fused_backward)


def _call(kernel, results: int, scratch, layout: Layout, windows, sequence, *arrays):
    """Runs a kernel on all rows and chunks; its results have the shape of `arrays`."""
    rows, like = len(sequence), arrays[0]
    of_row = pl.BlockSpec((1, 1, layout.tokens), lambda row, part: (row, 0, 0))
    window = pl.BlockSpec(
        (1, 1, windows.shape[-1]), lambda row, part: (row, 0, 0), memory_space=pltpu.SMEM
    )
    block = pl.BlockSpec(
        (1, layout.tokens, layout.held * layout.chunk), lambda row, part: (row, 0, part)
    )
    pairs = rows * layout.tokens**2
    products = 2 if kernel is _forward else 5
    return pl.pallas_call(
        functools.partial(kernel, layout=layout),
        grid=(rows, layout.lanes // (layout.held * layout.chunk)),
        in_specs=[window, of_row, *[block] * len(arrays)],
        out_specs=[block] * results,
        out_shape=[jax.ShapeDtypeStruct(like.shape, like.dtype)] * results,
        scratch_shapes=scratch,
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel")),
        cost_estimate=pl.CostEstimate(
            flops=2 * products * pairs * layout.lanes,
            transcendentals=pairs * layout.lanes // layout.chunk * layout.heads,
            bytes_accessed=(len(arrays) + results) * like.nbytes,
        ),
        interpret=layout.interpret,
        name=f"attention{kernel.__name__}",
    )(windows, sequence, *arrays)


def _forward(windows, sequence, query, key, value, attended, *, layout: Layout):
    @pl.loop(0, layout.held)
    def _(chunk):
        lanes = pl.ds(pl.multiple_of(chunk * layout.chunk, TILE), layout.chunk)

        @_over_tiles(windows, sequence, attended, lanes, layout)
        def _(tokens, seen, visible):
            keys, values = key[0, seen, lanes], value[0, seen, lanes]
            total = jnp.zeros((TILE, layout.chunk), jnp.float32)
            for own in _heads(layout):
                queries = _part(query[0, tokens, lanes], own * layout.scale)
                weights = _weights(queries, keys, visible)
                total += own * _product(weights.astype(values.dtype), values, (1, 0))
            return total


def _backward(
    windows,
    sequence,
    query,
    key,
    value,
    gradient,
    of_query,
    of_key,
    of_value,
    sum_key,
    sum_value,
    *,
    layout: Layout,
):
    @pl.loop(0, layout.held)
    def _(chunk):
        lanes = pl.ds(pl.multiple_of(chunk * layout.chunk, TILE), layout.chunk)
        sum_key[...] = jnp.zeros_like(sum_key)
        sum_value[...] = jnp.zeros_like(sum_value)

        @_over_tiles(windows, sequence, of_query, lanes, layout)
        def _(tokens, seen, visible):
            keys, values = key[0, seen, lanes], value[0, seen, lanes]
            total = jnp.zeros((TILE, layout.chunk), jnp.float32)
            for own in _heads(layout):
                queries = _part(query[0, tokens, lanes], own * layout.scale)
                above = _part(gradient[0, tokens, lanes], own)
                weights = _weights(queries, keys, visible)
                of_weights = _product(above, values, (1, 1))
                mean = (weights * of_weights).sum(-1, keepdims=True)
                of_scores = (weights * (of_weights - mean)).astype(keys.dtype)
                total += own * layout.scale * _product(of_scores, keys, (1, 0))
                sum_key[seen, :] += _product(of_scores, queries, (0, 0))
                sum_value[seen, :] += _product(weights.astype(above.dtype), above, (0, 0))
            return total

        of_key[0, :, lanes] = sum_key[...].astype(of_key.dtype)
        of_value[0, :, lanes] = sum_value[...].astype(of_value.dtype)


def _over_tiles(windows, sequence, results, lanes, layout: Layout):
    """Decorator: runs a function for each tile of queries that sees anything.

    Its arguments are the tile's tokens, the tokens of the window that it sees, and which of those each query
    sees. It returns the tile's results, float32 [tile, chunk]; where it isn't run they are 0.
    """

    def run(function):
        @pl.loop(0, layout.tiles)
        def _(tile):
            tokens = _tokens(tile, 1)
            results[0, tokens, lanes] = jnp.zeros((TILE, layout.chunk), results.dtype)

            @_on_window(windows, tile, layout)
            def _(seen):
                total = function(tokens, seen, _visible(sequence, tokens, seen, layout))
                results[0, tokens, lanes] = total.astype(results.dtype)

    return run


def _tokens(tile, length: int):
    """The tokens of so many tiles."""
    return pl.ds(pl.multiple_of(tile * TILE, TILE), length * TILE)


def _on_window(windows, tile, layout: Layout):
    """Decorator: runs a function of the tokens that a tile of queries sees, if it sees any."""

    def run(function):
        first, length = windows[0, 0, 2 * tile], windows[0, 0, 2 * tile + 1]
        for each in layout.lengths:
            # A slice's size is compiled in, so there is a program for each.
            pl.when(length == each)(functools.partial(lambda n: function(_tokens(first, n)), each))

    return run


def _visible(sequence, tokens, seen, layout: Layout):
    """Which tokens of a window (second axis) the queries of a tile (first axis) see."""
    own = jnp.broadcast_to(sequence[0, :, tokens], (TILE, TILE)).T[:, :1]
    visible = own == sequence[0, :, seen]
    if layout.causal:
        shape = TILE, seen.size
        query = tokens.start + jax.lax.broadcasted_iota(jnp.int32, shape, 0)
        visible &= query >= seen.start + jax.lax.broadcasted_iota(jnp.int32, shape, 1)
    return visible


def _heads(layout: Layout):
    """For each head of a chunk, 1 in its lanes and 0 in the others: [1, chunk]."""
    lane = jax.lax.broadcasted_iota(jnp.int32, (1, layout.chunk), 1)
    width = layout.chunk // layout.heads
    return [
        ((lane >= head * width) & (lane < (head + 1) * width)).astype(jnp.float32)
        for head in range(layout.heads)
    ]


def _part(x, factors):
    """`x` times float32 factors, in its own type."""
    return (x.astype(jnp.float32) * factors).astype(x.dtype)


def _weights(queries, keys, visible):
    """The softmax of the scores of a tile: float32 [tile, window]."""
    scores = jnp.where(visible, _product(queries, keys, (1, 1)), MASKED)
    powers = jnp.exp(scores - scores.max(-1, keepdims=True))
    return powers * (1 / powers.sum(-1, keepdims=True))


def _product(one, other, axes: tuple[int, int]):
    """The product over an axis of either, summed in float32."""
    exact = jax.lax.Precision.HIGHEST if one.dtype == jnp.float32 else None
    dimensions = (((axes[0],), (axes[1],)), ((), ()))
    return jax.lax.dot_general(
        one, other, dimensions, precision=exact, preferred_element_type=jnp.float32
    )
