"""Lists the photos below a folder."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

# What Pillow's plugins call their files, of formats that photos come in.
SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".webp",
    ".tif",
    ".tiff",
    ".bmp",
    ".gif",
    ".jfif",
    ".mpo",
    ".avif",
    ".heic",
    ".heif",
)


def found_below(
    folder: Path, follow_links: bool = False, onerror: Callable[[OSError], object] | None = None
) -> Iterator[str]:
    """The paths of image files below a folder, in order; hidden files and folders aren't looked at.

    A link to a folder that the walk is in is passed over, because it has no photos of its own.

    Args:
      folder: The folder.
      follow_links: Whether links to folders are followed.
      onerror: Is told of a folder that can't be listed, which is passed over.
    """
    inside = {str(folder): frozenset([os.path.realpath(folder)])}
    for path, folders, names in os.walk(folder, onerror=onerror, followlinks=follow_links):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if follow_links:
            around = inside.pop(path)
            real = {name: os.path.realpath(os.path.join(path, name)) for name in folders}
            folders[:] = [name for name in folders if real[name] not in around]
            inside |= {os.path.join(path, name): around | {real[name]} for name in folders}
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield os.path.relpath(os.path.join(path, name), folder)
