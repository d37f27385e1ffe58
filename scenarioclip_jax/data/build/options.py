"""What decides which data set is made."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from scenarioclip_jax.data import images
from scenarioclip_jax.data.build.box_votes import BoxFlags
from scenarioclip_jax.data.build.metadata_files import metadata_files
from scenarioclip_jax.data.build.photo_folders import Folders
from scenarioclip_jax.data.stored import labels, shards
from scenarioclip_jax.data.stored.splits import FRACTIONS


class Options(NamedTuple):
    """The annotations and how they are read; `dataset.build` explains the fields."""

    root: Path
    folders: Folders
    boxes: BoxFlags = BoxFlags()
    max_pixels: int = images.MAX_PIXELS
    max_side: int | None = None
    keep_metadata: bool = False
    skip_broken: bool = False
    strict: bool = False
    fractions: tuple[float, ...] = FRACTIONS
    validation_share: float = 0.0

    def digest(self) -> str:
        """Digest of all that finished chunks depend on, except for the images themselves."""
        files = [
            (path.name, path.stat().st_size, path.stat().st_mtime_ns)
            for path in metadata_files(self.root)
        ]
        folders = [str(folder.resolve()) for folder in (self.root, *self.folders.others)]
        values = [files, folders, self.folders.follow_links, self.boxes, self.max_pixels]
        values += [self.max_side, self.keep_metadata]
        values += [self.skip_broken, self.strict, shards.VERSION, labels.VERSION]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
