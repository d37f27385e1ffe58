"""Which of the images of a suite a model was trained on."""

from typing import Any

import numpy as np
from jaxtyping import UInt64

from scenarioclip_jax.data import photo_digests
from scenarioclip_jax.evaluation.embed.in_domain import DataSet
from scenarioclip_jax.evaluation.files import NAMED, Files, SuiteError
from scenarioclip_jax.storage.models import model_copy

CHOICES = ("mark", "refuse")
Known = UInt64[np.ndarray, " M"] | None  # digests of what a model was trained on; None: not known


def known_to(checkpoint: str) -> Known:
    """Digests of the photos that a model was trained on; None if its folder doesn't tell."""
    return photo_digests.read(model_copy(checkpoint) / photo_digests.OF_RUN)


def seen_images(known: Known, scored: DataSet | Files | None) -> dict[str, Any] | None:
    """How many of a suite's images were in training, at least, and some of them; None if nothing is known.

    Args:
      known: What the model was trained on.
      scored: The data set of an in-domain suite, whose test split counts; or the files of another one.
    """
    if known is None or scored is None:
        return None
    if isinstance(scored, Files):
        known_ones = set(known.tolist())
        paths = sorted(path for path, digest in scored.photos.items() if digest in known_ones)
        return {"count": len(paths), "of": len(scored.photos), "such_as": paths[:NAMED]}
    photos = scored.photos()
    if photos is None:
        return None
    return {"count": len(photo_digests.seen(photos, known)), "of": len(photos), "such_as": []}


def told(seen: dict[str, Any] | None) -> list[str]:
    """A note for the report if some images were in training; empty otherwise."""
    if not seen or not seen["count"]:
        return []
    such_as = f", such as {', '.join(seen['such_as'])}" if seen["such_as"] else ""
    return [
        f"{seen['count']:,} of the {seen['of']:,} images were in the model's training{such_as}; its scores "
        "can't be compared with those of models that have never seen them"
    ]


def refuse(seen: dict[str, Any] | None) -> None:
    """Raises SuiteError if some images were in training."""
    if notes := told(seen):
        raise SuiteError(notes[0].split(";")[0], "set config.seen_images=mark to score them anyway")
