"""Recognizes photos by their pixels, whatever they are called and however they are stored.

A build finds by these digests the records that share a photo. It keeps those of each split beside the shards,
and a training run keeps those of what it was trained on, so that an evaluation can tell which images a model
has seen.

    photos-train.npy …   beside the shards: uint64 [N], ascending, each once
    photos.npy           in a run's workdir: of all training splits, and of the weights that it began with
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt64
from PIL import Image

from scenarioclip_jax.files import write_whole

OF_RUN = "photos.npy"
_DIGITS = 16  # hexadecimal ones of a digest that are kept: 64 bits


def digest_of_pixels(picture: Image.Image) -> str:
    """A digest of a photo's upright RGB pixels: the same for a copy, and for the same image in another format.

    Images that were scaled, cropped or compressed again have other digests.
    """
    size = repr(picture.size).encode()
    return hashlib.blake2b(np.asarray(picture).data, digest_size=16, key=size).hexdigest()


def shortened(digest: str) -> int:
    """The 64 bits of a digest that are kept. Two of 100 million photos and 100,000 test images meet by chance
    once in two million times."""
    return int(digest[:_DIGITS], 16)


def of_split(split: str) -> str:
    """Name of the file with the digests of a split."""
    return f"photos-{split}.npy"


def write(path: Path, digests: Iterable[int]) -> None:
    """Writes digests, ascending, each once."""
    found = np.unique(np.fromiter(digests, np.uint64))
    write_whole(path, lambda file: np.save(file, found, allow_pickle=False))


def read(path: Path) -> UInt64[np.ndarray, " N"] | None:
    """Reads digests; None if there is no such file, or none that can be read: then nothing is known."""
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.dtype == np.uint64 and found.ndim == 1 else None


def seen(
    digests: UInt64[np.ndarray, " N"], known: UInt64[np.ndarray, " M"]
) -> UInt64[np.ndarray, " S"]:
    """Those of `digests` that are among `known`."""
    return np.intersect1d(digests, known)
