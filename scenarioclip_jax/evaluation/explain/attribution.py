"""Where in an image the model finds its evidence: relevance of pixels for a text, and attention rollout."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from flax import nnx
from jaxtyping import Float, Int, UInt8

from scenarioclip_jax.arrays import Array
from scenarioclip_jax.data.device.views import normalize_pixels
from scenarioclip_jax.evaluation.score.zero_shot import normalize
from scenarioclip_jax.inference import Model
from scenarioclip_jax.models import params as parameters
from scenarioclip_jax.models.layers import Block, Stack
from scenarioclip_jax.models.rows import Stream
from scenarioclip_jax.models.scenario_clip import pools, sees_visible_only

STEPS = 32  # steps of the integral


def contrast(texts: Float[np.ndarray, "M D"], row: int) -> Float[np.ndarray, " D"]:
    """What sets a text apart from others: its L2-normalized embedding minus the mean of the others.

    The gradient of a plain cosine mostly shows what makes an image similar to any text at all.

    Raises:
      ValueError: There is only one text.
    """
    if len(texts) < 2:
        raise ValueError("a contrast needs at least two texts")
    texts = normalize(texts)
    return texts[row] - np.delete(texts, row, axis=0).mean(axis=0)


def text_relevance(
    model: Model,
    view: UInt8[np.ndarray, "P P 3"],
    direction: Float[np.ndarray, " D"],
    level: str,
    steps: int = STEPS,
) -> Float[np.ndarray, "P P"]:
    """How much each pixel adds to the image's score along a direction of the embedding space.

    These are integrated gradients from a black image, since the towers see black where nothing is shown. The
    score is the image's L2-normalized embedding times the direction; the sum over pixels is the score of the
    image minus that of a black one, up to the error of the integral.

    Args:
      view: View as the towers see it, from `DataSet.views`.
      direction: L2-normalized embedding of a text (the score is a cosine), or the result of `contrast`.
    """

    pictures = np.stack([view, np.zeros_like(view)]).astype(np.float32) / 255
    pixels, black = normalize_pixels(jnp.asarray(pictures), jnp.float32)
    found = _relevance(model.graph, level, steps, model.params, pixels, black, direction)
    return np.asarray(found)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _relevance(graph, level: str, steps: int, params, pixels, black, direction):
    tower = parameters.merge(graph, params)

    def score(pixels):
        embedding = tower.encode_image(pixels[None], level)[0]
        return embedding @ direction / jnp.linalg.norm(embedding)

    return integrated_gradients(score, pixels, black, steps).sum(axis=-1)


def integrated_gradients(
    function: Callable[[Array], Array], x: Array, baseline: Array, steps: int
) -> Array:
    """Shares of the entries of `x` in `function(x) - function(baseline)` (Sundararajan et al. 2017).

    A share is the gradient's mean along the straight line between the two, by the midpoint rule, times their
    difference.
    """

    def add(total, share):
        return total + jax.grad(function)(baseline + share * (x - baseline)), None

    shares = (jnp.arange(steps) + 0.5) / steps
    total, _ = jax.lax.scan(add, jnp.zeros_like(x), shares)
    return (x - baseline) * total / steps


def smooth(relevance: Float[np.ndarray, "P P"], share: float = 1 / 24) -> Float[np.ndarray, "P P"]:
    """Blurs a map, whose single pixels are noise, with a sigma of `share` of its side; keeps its sum."""
    return scipy.ndimage.gaussian_filter(relevance, share * len(relevance), mode="reflect")


def by_patch(relevance: Float[np.ndarray, "P P"], grid: int) -> Float[np.ndarray, "grid grid"]:
    """Sums over the patches that the tower cuts an image into."""
    side = len(relevance) // grid
    return relevance.reshape(grid, side, grid, side).sum(axis=(1, 3))


def share_inside(
    relevance: Float[np.ndarray, "P P"], box: Float[np.ndarray, "4"]
) -> tuple[float, float]:
    """The share of all positive relevance that lies in a box, and the box's share of the image.

    Args:
      box: x0, y0, x1, y1 in pixels; truncated to whole ones.
    """
    x0, y0, x1, y1 = np.rint(box).astype(int)
    positive = np.maximum(relevance, 0)
    inside = float(positive[y0:y1, x0:x1].sum() / max(positive.sum(), 1e-30))
    return inside, (y1 - y0) * (x1 - x0) / relevance.size


def attention_rollout(
    model: Model, view: UInt8[np.ndarray, "P P 3"], level: str
) -> Float[np.ndarray, "grid grid"]:
    """Which patches the class token attends to through all blocks; the head reads only this token.

    These are shares that sum to 1 (Abnar & Zuidema 2020: mean over heads; half of each block's input bypasses
    it on the residual stream). They don't depend on any text.
    """

    pixels = normalize_pixels(jnp.asarray(view[None], jnp.float32) / 255, jnp.float32)
    if pools(model.spec.model) and level != "global":
        raise ValueError(
            f"level {level!r} of a model with pooled regions: it pools the photo's tokens and has no view of "
            "its own whose attention could be followed; ask for the level 'global'"
        )
    if model.spec.model["vision"].get("pooling", "class_token") != "class_token":
        raise ValueError("the vision tower has no class token whose attention could be followed")
    branch = model.branch(level)
    matrices = _attention_matrices(model.graph, level, branch, model.params, pixels)
    shares = rollout([np.asarray(matrix) for matrix in matrices])[0, 1:]
    grid = round(len(shares) ** 0.5)
    return (shares / shares.sum()).reshape(grid, grid)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _attention_matrices(graph, level: str, branch: str, params, pixels) -> list[Array]:
    """The attention of each block, averaged over heads, [T, T], in the order of the blocks."""
    whole = parameters.merge(graph, params)
    tower = whole.vision
    stem = tower.stem["shared" if "shared" in tower.stem else branch]
    seen = sees_visible_only(whole.arch, whole.patch_packing, level)
    stream = stem.embed(pixels, visible_only=seen)
    x, sequence = stream
    found = []
    for stack in (stem.stack, tower.trunk[branch].stack):
        for block in _blocks(stack):
            found.append(attention(block, x, sequence)[0].mean(axis=0))
            x = block(x, sequence)
        if stack is stem.stack:
            x = tower.tell(level, Stream(x, sequence)).x
    return found


def rollout(matrices: Sequence[Float[np.ndarray, "T T"]]) -> Float[np.ndarray, "T T"]:
    """Attention of the last block's tokens to the first block's: the product of (matrix + 1) / 2."""
    total = np.eye(len(matrices[0]))
    for matrix in matrices:
        total = (matrix + np.eye(len(matrix))) / 2 @ total
    return total


def attention(
    block: Block, x: Float[Array, "N T W"], sequence: Int[Array, "N T"] | None = None
) -> Float[Array, "N heads T T"]:
    """A block's attention: row t holds the weights of token t on all tokens; rows sum to 1.

    Args:
      sequence: A token sees the tokens of its row with the same number; None: it sees all.
    """
    qkv = block.qkv(block.norm1(x))
    query, key = qkv[:, :, 0], qkv[:, :, 1]  # [N, T, heads, head_dim]
    scores = jnp.einsum("nqhd,nkhd->nhqk", query, key) / query.shape[-1] ** 0.5
    scores = scores.astype(jnp.float32)
    if sequence is not None:
        sees = sequence[:, None, :, None] == sequence[:, None, None, :]
        scores = jnp.where(sees, scores, jnp.finfo(jnp.float32).min)
    return jax.nn.softmax(scores, axis=-1)


def _blocks(stack: Stack) -> Iterator[Block]:
    if stack.length:
        graph, params = nnx.split(stack.blocks)
        for index in range(stack.length):
            yield nnx.merge(graph, jax.tree.map(lambda x, i=index: x[i], params))
