"""Losses over a picture's own few candidates: texts that are true of it against texts that are false.

A contrastive loss over a batch hardly ever meets the same words in another order or with another predicate, so
nothing asks a model to tell these apart (Yuksekgonul et al. 2023). Here each picture is compared with texts
that are made for it. All candidates are in the picture's own packing group, so groups never communicate.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from scenarioclip_jax.arrays import Array
from scenarioclip_jax.losses.contrastive import LOWEST, MAX_SCALE, normalize

TERMS = ("negatives", "paraphrases", "scene_texts", "scene_pictures", "texts")


class Further(NamedTuple):
    """What the texts of a level are that come behind the slots' own. Empty slots are neither true nor false."""

    slot: Int[Array, "G F"]  # the slot whose picture the text is about
    true: Bool[Array, "G F"]
    false: Bool[Array, "G F"]
    text: Int[Array, "G F"]  # ids of the texts


class Candidates(NamedTuple):
    """Which columns are true of each row, and which are false. The others aren't candidates."""

    true: Bool[Array, "G N K"]
    false: Bool[Array, "G N K"]


def candidates_loss(logits: Float[Array, "G N K"], candidates: Candidates) -> Float[Array, ""]:
    """Cross-entropy of each true candidate against the row's false ones (NegCLIP's idea, made local).

    For a row n with true candidates T and false candidates F, and its logits s:

        loss_n = mean over t in T of  log(1 + sum over f in F of exp(s_f - s_t))

    True candidates aren't negatives of each other, as in the "out" form of Khosla et al. 2020, eq. 2, without
    other positives in the denominator.

    Returns:
      The mean over the rows that have both a true and a false candidate; 0 if none has.
    """
    wrong = jax.nn.logsumexp(jnp.where(candidates.false, logits, LOWEST), axis=-1, keepdims=True)
    count = candidates.true.sum(-1)
    lost = jnp.where(candidates.true, jax.nn.softplus(wrong - logits), 0.0).sum(-1)
    used = (count > 0) & candidates.false.any(-1)
    per_row = jnp.where(used, lost / jnp.maximum(count, 1), 0.0)
    return per_row.sum() / jnp.maximum(used.sum(), 1)


def cosine_logits(
    rows: Float[Array, "G N D"], columns: Float[Array, "G K D"], logit_scale: Float[Array, ""]
) -> Float[Array, "G N K"]:
    """Cosines of embeddings within each group, times min(exp(logit_scale), MAX_SCALE)."""
    scale = jnp.minimum(jnp.exp(logit_scale), MAX_SCALE)
    rows, columns = (normalize(x.astype(jnp.float32)) for x in (rows, columns))
    exact = jax.lax.Precision.HIGHEST  # accelerators would round the factors, and cosines are close
    return scale * jnp.einsum("gnd,gkd->gnk", rows, columns, precision=exact)


def relation_losses(
    image: Float[Array, "G R D"],
    text: Float[Array, "G R_plus_F D"],
    logit_scale: Float[Array, ""],
    scene: Int[Array, "G R"],
    mask: Bool[Array, "G R"],
    pair: Int[Array, "G R"],
    further: Further | None,
    weights: Mapping[str, float],
) -> dict[str, Float[Array, ""]]:
    """The losses over candidates of relations, for the terms whose weight isn't 0.

    - `negatives`: a picture's own text against its negatives.
    - `paraphrases`: a picture's paraphrases against its negatives, so that what says the same in other words
      isn't pushed away with them.
    - `scene_texts`: a picture's own text against the texts of the scene's relations between other ends.
    - `scene_pictures`: a text's own picture against the pictures of these relations.
    - `texts`: a text's paraphrases against its negatives, compared as texts.

    Args:
      image, text: Embeddings of R relations; behind their own texts come F further ones.
      logit_scale: Logarithm of the level's scale.
      scene, mask, pair: Those of the level's slots, see `data.batch.Slots`.
      further: What the further texts are; None if there are none.
      weights: Weights by term.
    """
    relations = image.shape[1]
    own = _own(mask, text.shape[1])
    nothing = jnp.zeros_like(own)
    told = Candidates(nothing, nothing)
    if further is not None:
        told = _of_further(further, relations, text.shape[1])
    others = scene[:, :, None] == scene[:, None, :]
    others &= pair[:, :, None] != pair[:, None, :]
    others &= mask[:, :, None] & mask[:, None, :]
    diagonal = own[..., :relations]
    logits = cosine_logits(image, text, logit_scale)
    among_own = logits[..., :relations]
    terms = {
        "negatives": lambda: (logits, Candidates(own, told.false)),
        "paraphrases": lambda: (logits, told),
        "scene_texts": lambda: (among_own, Candidates(diagonal, others)),
        "scene_pictures": lambda: (among_own.swapaxes(1, 2), Candidates(diagonal, others)),
        "texts": lambda: (cosine_logits(text[:, :relations], text, logit_scale), told),
    }
    return {name: candidates_loss(*term()) for name, term in terms.items() if weights[name]}


def of_slots(
    text: Float[Array, "G N_plus_F D"], further: Further, own: Float[Array, "G N D"]
) -> tuple[Float[Array, "G N D"], Int[Array, "G N"], Bool[Array, "G N"]]:
    """The embedding and the id of each slot's true further text, of which it has at most one; if it has one."""
    about = further.slot[:, None, :] == jnp.arange(own.shape[1])[:, None]
    about &= further.true[:, None, :]
    behind = text[:, own.shape[1] :]
    index = jnp.argmax(about, axis=-1)
    of_slot = jnp.take_along_axis(behind, index[..., None], axis=1)
    return of_slot, jnp.take_along_axis(further.text, index, axis=1), about.any(-1)


def _own(mask: Bool[Array, "G R"], texts: int) -> Bool[Array, "G R {texts}"]:
    return jnp.eye(mask.shape[1], texts, dtype=bool) & mask[..., None]


def _of_further(further: Further, slots: int, texts: int) -> Candidates:
    """Which further texts are true of each slot's picture, and which are false: [G, slots, texts]."""
    about = further.slot[:, None, :] == jnp.arange(slots)[:, None]
    before = [(0, 0), (0, 0), (texts - further.slot.shape[1], 0)]

    def in_columns(which: Bool[Array, "G F"]) -> Bool[Array, "G N K"]:
        return jnp.pad(about & which[:, None, :], before)

    return Candidates(in_columns(further.true), in_columns(further.false))
