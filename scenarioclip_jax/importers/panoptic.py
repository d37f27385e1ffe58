"""Segments of a panoptic PNG, as COCO and PSG have them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scenarioclip_jax import faults
from scenarioclip_jax.data.build.problems import DROPPED
from scenarioclip_jax.importers import masks
from scenarioclip_jax.importers.draft import Draft


def segment_masks(
    draft: Draft, folder: Path | None, name: str, ids: Iterable[int]
) -> dict[int, dict[str, Any]]:
    """The masks of a photo's segments by their ids; what can't be read is counted, and its boxes stay.

    Args:
      draft: The photo.
      folder: Folder of the PNG files; without it there are no masks.
      name: Path of the PNG file in it.
      ids: The segments' ids.
    """
    if folder is None:
        return {}
    try:
        pixels = masks.panoptic_ids(folder / name)
    except OSError as error:
        faults.refuse(error, folder / name)
        reason = "missing_png" if isinstance(error, FileNotFoundError) else "unreadable_png"
        draft.problem(reason, DROPPED, "mask", f"{folder / name}: {error.strerror or error}")
        return {}
    if draft.size is None:
        draft.set_size((pixels.shape[1], pixels.shape[0]))
    elif pixels.shape != draft.size[::-1]:
        detail = f"{folder / name} has {pixels.shape[::-1]} pixels, the photo {draft.size}"
        draft.problem("png_of_other_size", DROPPED, "mask", detail)
        return {}
    found = {}
    for id in ids:
        segment = pixels == id
        if segment.any():
            found[id] = masks.from_array(segment)
        else:
            draft.problem("segment_not_in_png", DROPPED, "mask", f"{folder / name}: segment {id}")
    return found
