"""LoRA (Hu et al. 2022): parameters that change by a matrix of low rank only, as a wrapper of an optimizer.

A parameter W that adapts becomes W0 + s A B, with A [in, r] and B [r, out] learned in its place. The model
keeps W itself: this optimizer holds A and B, turns the gradient G of W into theirs,

    dL/dA = s G B^T,    dL/dB = s A^T G,

lets the inner optimizer step on them, and moves W by what s A B changed. By the chain rule that is the same as
training A and B inside of the model, and everything else (checkpoints, evaluation, export) sees an ordinary
one. Moments are kept for A and B only. (Libraries that put A and B into the layers, such as qwix, can't reach
blocks that are scanned.)
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from scenarioclip_jax.models.params import Params

A, B = "/lora_a", "/lora_b"  # appended to a parameter's path
STACKED = (
    "/stack/blocks/"  # the first axis of such parameters counts blocks, each of which has a matrix
)


class LoraState(NamedTuple):
    """Attributes:
    factors: A [blocks, in, r] and B [blocks, r, out] by path; without the first axis outside of blocks.
    inner: The state of the inner optimizer, for A, B and the parameters that don't adapt.
    """

    factors: Params
    inner: optax.OptState


class Matrix(NamedTuple):
    """How a parameter is read as a matrix: axes of the parameter that are its rows and its columns."""

    blocks: int  # leading axes of which each entry is a matrix: 0 or 1
    rows: int  # axes of the input

    @classmethod
    def of(cls, path: str, ndim: int) -> "Matrix":
        """Raises ValueError if a parameter has no matrix."""
        blocks = int(STACKED in path)
        rows = 2 if path.endswith(f"{STACKED}out/kernel") else 1  # heads and their width
        if ndim - blocks - rows < 1:
            raise ValueError(
                f"lora_rank: {path} is no matrix, so it has no rank; give it 0, which trains it as it is"
            )
        return cls(blocks, rows)

    def flat(self, x: jax.Array) -> jax.Array:
        """[*blocks, in, out]"""
        lead, rest = x.shape[: self.blocks], x.shape[self.blocks :]
        return x.reshape(*lead, math.prod(rest[: self.rows]), math.prod(rest[self.rows :]))


def lora(
    inner: optax.GradientTransformation, ranks: Mapping[str, int], *, scale: float, seed: int = 0
) -> optax.GradientTransformation:
    """Wraps an optimizer so that some parameters change by matrices of low rank.

    Args:
      inner: The optimizer of A, B (under the paths of `factor_paths`) and of all other parameters.
      ranks: Rank r by path; paths with 0 or none are left to `inner`.
      scale: s, which is usually written as alpha / r.
      seed: Seed of A, which starts uniformly within +-1 / sqrt(in); B starts at 0, so W starts at W0.
    """
    ranks = {path: rank for path, rank in ranks.items() if rank}

    def init(params: Any) -> LoraState:
        factors: dict[str, jax.Array] = {}
        for index, (path, rank) in enumerate(sorted(ranks.items())):
            shape = Matrix.of(path, params[path].ndim).flat(params[path]).shape
            *lead, rows, columns = shape
            key, limit = jax.random.fold_in(jax.random.key(seed), index), rows**-0.5
            factors[path + A] = jax.random.uniform(
                key, (*lead, rows, rank), minval=-limit, maxval=limit
            )
            factors[path + B] = jnp.zeros((*lead, rank, columns))
        return LoraState(factors, inner.init(_others(params) | factors))

    def _others(tree: Any) -> dict[str, jax.Array]:
        return {path: value for path, value in tree.items() if path not in ranks}

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, LoraState]:
        gradients = _others(updates)
        for path in ranks:
            matrix = Matrix.of(path, updates[path].ndim)
            gradient, a, b = matrix.flat(updates[path]), *_pair(state.factors, path)
            gradients[path + A] = scale * _product(gradient, b.mT)
            gradients[path + B] = scale * _product(a.mT, gradient)
        stepped: Any
        stepped, after = inner.update(gradients, state.inner, _others(params) | state.factors)
        factors = {path: value + stepped[path] for path, value in state.factors.items()}
        moved = {path: stepped[path] for path in params if path not in ranks}
        for path in ranks:
            (a, b), (by_a, by_b) = _pair(state.factors, path), _pair(stepped, path)
            # (A + dA) (B + dB) - A B, without taking one large product from another.
            change = scale * (_product(by_a, b + by_b) + _product(a, by_b))
            moved[path] = change.reshape(params[path].shape)
        return moved, LoraState(factors, after)

    return optax.GradientTransformation(init, update)


def factor_paths(paths: Mapping[str, int]) -> dict[str, str]:
    """The paths that the inner optimizer sees, each with the parameter that it belongs to, by rank."""
    found = {}
    for path, rank in paths.items():
        found |= {path + A: path, path + B: path} if rank else {path: path}
    return found


def _pair(tree: Any, path: str) -> tuple[jax.Array, jax.Array]:
    return tree[path + A], tree[path + B]


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision="highest")
