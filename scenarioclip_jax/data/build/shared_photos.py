"""Photos that several records share: their scenes go into one split, whatever the ids."""

import hashlib
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from scenarioclip_jax.data import images, jpeg_files
from scenarioclip_jax.data.build.photo_files import resolve_inside
from scenarioclip_jax.data.build.photo_folders import Folders, PhotoError
from scenarioclip_jax.data.build.records import Record
from scenarioclip_jax.progress_bar import progress_bar

_AT_ONCE = 1024  # photos handed to the threads


def shared_photos(
    records: Sequence[Record],
    root: Path | Folders,
    *,
    max_pixels: int = images.MAX_PIXELS,
    progress: bool = False,
) -> dict[str, list[str]]:
    """Finds records that show the same pixels: the same file, a copy, or the same image in another format.

    All photos are decoded, with one thread per core. Images that were scaled, cropped or compressed again count
    as different.

    Args:
      records: Annotations with different ids.
      root: The data root that their paths are relative to, or the folders to look in.
      max_pixels: Photos with more pixels are left out.
      progress: Whether to show a progress bar.

    Returns:
      The ids of records that share pixels, in their order and at least two, by a digest of the pixels.
    """
    paths = list(dict.fromkeys(record.image_path for record in records))
    digests: dict[str, str | None] = {}
    bar = progress_bar(
        total=len(paths), desc="Comparing photos", unit=" photos", disable=not progress
    )
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool, bar:
        warnings.simplefilter("ignore")  # the build itself says what is wrong with a photo
        for start in range(0, len(paths), _AT_ONCE):
            some = paths[start : start + _AT_ONCE]
            for path, digest in zip(
                some, pool.map(partial(_digest, root, max_pixels), some), strict=True
            ):
                digests[path] = digest
                bar.update()
    ids: dict[str, list[str]] = {}
    for record in records:
        if digest := digests[record.image_path]:
            ids.setdefault(digest, []).append(record.id)
    return {digest: sharing for digest, sharing in ids.items() if len(sharing) > 1}


def _digest(root: Path | Folders, max_pixels: int, path: str) -> str | None:
    """A digest of a photo's upright pixels; None if it can't be opened."""
    try:
        content = resolve_inside(root, path).read_bytes()
        try:
            picture = images.open_image(content, max_pixels=max_pixels).picture
        except images.ImageFileError:
            mended = jpeg_files.mend_end(content)
            picture = images.open_image(mended, max_pixels=max_pixels).picture
    except (OSError, PhotoError):
        return None
    size = repr(picture.size).encode()
    return hashlib.blake2b(np.asarray(picture).data, digest_size=16, key=size).hexdigest()
