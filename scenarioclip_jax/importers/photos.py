"""Where the photos of a source lie, below the folder that the user named, and how large they are."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from PIL import Image

from scenarioclip_jax import faults

_ORIENTATION = 0x0112  # the EXIF tag
_QUARTER_TURNS = (5, 6, 7, 8)  # its values that exchange width and height


class Photos:
    """Finds photos below a folder.

    Args:
      folder: The folder that the user named with --images, or None.
    """

    def __init__(self, folder: Path | None):
        self._folder = folder
        self._last = ""

    def find(self, name: str, folders: Iterable[str] = ()) -> tuple[str, bool]:
        """Looks for a photo in some folders.

        Args:
          name: Its path as the source tells it.
          folders: Folders below the user's where it may be. It's looked for in the user's folder itself, too.

        Returns:
          Its path relative to the user's folder, and whether it's there; `name` and False if it isn't, and
          `name` and True if no folder was named.
        """
        name = PurePosixPath(name.replace("\\", "/").lstrip("/")).as_posix()
        if self._folder is None:
            return name, True
        # Neighbors lie together, so a look at the folder of the last one is nearly always enough.
        for folder in dict.fromkeys((self._last, "", *folders)):
            if self._last == folder != "" and folder not in folders:
                continue
            path = f"{folder}/{name}" if folder else name
            if faults.is_file(self._folder / path):
                self._last = folder
                return path, True
        return name, False

    def find_end(self, name: str) -> tuple[str, bool]:
        """Like `find`, for a path of another machine: the longest end of it that is there.

        Without a folder of photos it's the whole path, or the file's name if the path is absolute.
        """
        path = PurePosixPath(name.replace("\\", "/"))
        parts = [part for part in path.parts if part not in ("/", "..")]
        if self._folder is None:
            return (path.name if path.is_absolute() else "/".join(parts)), True
        for start in range(len(parts)):
            end = "/".join(parts[start:])
            if faults.is_file(self._folder / end):
                return end, True
        return "/".join(parts), False

    def size(self, path: str) -> tuple[int, int]:
        """Width and height of a photo as viewers show it, from its header.

        Raises:
          OSError: The photo can't be read.
        """
        (width, height), turned = self._header(path)
        return (height, width) if turned else (width, height)

    def is_turned(self, path: str) -> bool:
        """Whether EXIF says that viewers turn a photo by 90 degrees; raises OSError."""
        return self._header(path)[1]

    def _header(self, path: str) -> tuple[tuple[int, int], bool]:
        if self._folder is None:
            raise FileNotFoundError("no folder of photos was named")
        file = self._folder / path
        with faults.patiently(lambda: Image.open(file), file) as image:
            return image.size, image.getexif().get(_ORIENTATION) in _QUARTER_TURNS
