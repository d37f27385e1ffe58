"""Negatives as the scripts in the authors' repository draw them, as a baseline: many are true of the photo.

Each triplet gives one with an antonym of its predicate and up to six with one end replaced by another object
of the photo. They are pooled over the photo, 15 are drawn, and every relation gets these same 15. Nothing
checks them.

Two things differ. Here is a seed. And a predicate without an antonym takes that of the key with the nearest
spelling, where the scripts took the nearest by word vectors. The table of antonyms is our own.
"""

import difflib
import hashlib
from collections.abc import Sequence

import numpy as np

from scenarioclip_jax.data.stored.scene import Triplet, negative_kind
from scenarioclip_jax.words.negatives import Negative

DRAWN = 15
SWAPS = 6
_PAIRS = (
    *(("left of", "right of"), ("above", "below"), ("on", "under"), ("over", "beneath")),
    *(("in front of", "behind"), ("inside", "outside"), ("in", "out of"), ("near", "far from")),
    *(("next to", "away from"), ("covering", "uncovering"), ("dwarfing", "dwarfed by")),
    *(("above left of", "below right of"), ("above right of", "below left of")),
    *(("holding", "dropping"), ("pushing", "pulling"), ("sitting", "standing")),
    *(("wearing", "taking off"), ("riding", "walking"), ("opening", "closing")),
    *(("throwing", "catching"), ("entering", "leaving"), ("looking at", "ignoring")),
)
ANTONYMS = dict(_PAIRS) | {b: a for a, b in _PAIRS}


def published_negatives(
    triplets: Sequence[Triplet], objects: Sequence[str], *, id: str, seed: int
) -> list[Negative]:
    """Returns the 15 negatives that all relations of a photo get, or all if there are fewer.

    Args:
      triplets: All relations of the photo.
      objects: Names of all its objects.
      id: The photo's id, which is part of the seed.
      seed: Seed of what is drawn.

    `kind` tells a negative from the relation that it was made of.
    """
    digest = hashlib.sha256(f"{seed}\n{id}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    pool: dict[Triplet, str] = {}
    for own in triplets:
        subject, predicate, object_ = own
        swaps = [
            swap
            for name in dict.fromkeys(objects)
            if name not in (subject, object_)
            for swap in ((name, predicate, object_), (subject, predicate, name))
        ]
        chosen = rng.permutation(len(swaps))[:SWAPS].tolist()
        made = [(subject, antonym(predicate), object_), *(swaps[i] for i in chosen)]
        for triplet in made:
            pool.setdefault(triplet, negative_kind(own, triplet))
    names = list(pool)
    order = rng.permutation(len(names))[:DRAWN].tolist()
    return [Negative(names[i], pool[names[i]]) for i in order]


def antonym(predicate: str) -> str:
    """The antonym of a predicate, or of the key of the table that is spelled most like it."""
    nearest = difflib.get_close_matches(predicate, ANTONYMS, n=1, cutoff=0.0)
    return ANTONYMS[nearest[0]]
