"""Finds a suite's images below folders, and detects those that can't be decoded or are damaged."""

import functools
import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from scenarioclip_jax import faults
from scenarioclip_jax.data import damage, images, photo_digests
from scenarioclip_jax.progress_bar import progress_bar

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
LARGEST_CROP = 1 << 28  # pixels
# What is often saved in place of an image, by its first bytes.
FOREIGN = {
    b"version https://git-lfs": "a Git LFS pointer (run `git lfs pull`)",
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"\x1f\x8b": "a gzip archive (unpack it)",
    b"PK\x03\x04": "a zip archive (unpack it)",
    b"PAR1": "a Parquet file",
}


def foreign(data: bytes) -> str:
    """What a file really is if its name is wrong, judged by its first bytes; empty if they don't tell."""
    start = data[:200].lstrip(b"\xef\xbb\xbf \t\r\n")
    for mark, kind in FOREIGN.items():
        if start.startswith(mark) or start[: len(mark)].lower() == mark:
            return kind
    return ""


def leaves(name: str) -> bool:
    """Whether a name points outside the folder that it is relative to."""
    path = PurePosixPath(_slashes(name))
    return path.is_absolute() or ".." in path.parts


class Finder:
    """Finds images by their names in annotations, ignoring case.

    A name is tried as it is, with each of EXTENSIONS if it has none; then in direct subfolders, if exactly one
    has it; then without its first folders. So either COCO or COCO/val2014 may be given. A shortened name counts
    only if no other image of the set has the same ending.

    Args:
      names: All names that will be looked up.
    """

    def __init__(self, folders: Sequence[Path], names: Iterable[str] = ()):
        self._folders = list(folders)
        self._listed: dict[Path, dict[str, str]] = {}
        self._below: list[Path] | None = None
        self._alike = Counter(
            tail for name in set(map(_slashes, names)) for tail in _tails(PurePosixPath(name).parts)
        )

    def find(self, name: str) -> Path | None:
        """Returns the image's path; None if it doesn't exist."""
        name = _slashes(name)
        for folder in self._folders:
            if _is_file(path := folder / name):
                return path
        pieces = PurePosixPath(name).parts
        if not pieces:
            return None
        for folder in self._folders:
            if path := self._listed_file(folder.joinpath(*pieces)):
                return path
        below = [self._listed_file(folder.joinpath(*pieces)) for folder in self._subfolders()]
        if len(found := [path for path in below if path]) == 1:
            return found[0]
        for start in range(1, len(pieces)):
            if self._alike["/".join(pieces[start:]).lower()] > 1:
                break
            for folder in self._folders:
                if path := self._listed_file(folder.joinpath(*pieces[start:])):
                    return path
        return None

    def _listed_file(self, path: Path) -> Path | None:
        names = self._names(path.parent)
        lower = path.name.lower()
        endings = ("",) if path.suffix.lower() in EXTENSIONS else ("", *EXTENSIONS)
        found = next((names[lower + ending] for ending in endings if lower + ending in names), None)
        return path.with_name(found) if found else None

    def _names(self, folder: Path) -> dict[str, str]:
        """The files of a folder, by their names in lower case."""
        if folder not in self._listed:
            try:
                with os.scandir(folder) as entries:
                    files = sorted(entry.name for entry in entries if entry.is_file())
            except (OSError, ValueError):  # no such folder, or an impossible name
                files = []
            self._listed[folder] = {name.lower(): name for name in files}
        return self._listed[folder]

    def _subfolders(self) -> list[Path]:
        if self._below is None:
            self._below = []
            for folder in self._folders:
                try:
                    with os.scandir(folder) as entries:
                        names = sorted(entry.name for entry in entries if entry.is_dir())
                except OSError:
                    names = []
                self._below += [folder / name for name in names]
        return self._below


def _tails(pieces: Sequence[str]) -> list[str]:
    """All versions of a name without some of its first folders, in lower case."""
    return ["/".join(pieces[start:]).lower() for start in range(1, len(pieces))]


def _slashes(name: str) -> str:
    return name.replace("\\", "/")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a NUL
        return False


class RefusedError(OSError):
    """The system refused to read a file for an external reason: permission, too many files, no memory."""


class Checked(NamedTuple):
    """What is wrong with an image; empty if nothing is.

    Attributes:
      unreadable: Why the image can't be decoded.
      damaged: What is, or seems to be, wrong with an image that can be decoded.
      size: Width and height of the upright image, in pixels; (0, 0) if it can't be decoded.
      pixels: What `data.photo_digests` keeps of its pixels; 0 if it can't be decoded.
    """

    unreadable: str = ""
    damaged: str = ""
    size: tuple[int, int] = (0, 0)
    pixels: int = 0


def check(paths: Collection[Path], threads: int = 2) -> dict[Path, Checked]:
    """Finds images with something wrong. Images that were checked before aren't decoded again.

    Raises:
      RefusedError: A file can't be judged because the system refused to read it.
    """
    ordered = sorted(paths)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        found = progress_bar(pool.map(_check, ordered), "images checked", total=len(ordered))
        checked = dict(zip(ordered, found, strict=True))
    return {path: each for path, each in checked.items() if each.unreadable or each.damaged}


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of an upright image, in pixels; known without decoding if it was checked."""
    return _check(path).size


def pixels_digest(path: Path) -> int:
    """The digest of an image's pixels; known without decoding if it was checked."""
    return _check(path).pixels


def pixels_of(
    crop: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """Rounds a crop to whole pixels; None if it lies outside of an image of that size, or is absurdly large."""
    x0, y0, x1, y1 = (round(edge) for edge in crop)
    width, height = min(x1, size[0]) - max(x0, 0), min(y1, size[1]) - max(y0, 0)
    if width <= 0 or height <= 0 or (x1 - x0) * (y1 - y0) > LARGEST_CROP:
        return None
    return x0, y0, x1, y1


def _check(path: Path) -> Checked:
    try:
        state = path.stat()
    except FileNotFoundError as error:
        return Checked(str(error))
    except OSError as error:
        raise RefusedError(f"{path}: {error}") from error
    return _check_file(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=1 << 20)
def _check_file(path: Path, modified: int, size: int) -> Checked:
    """Checks a file; its time and size are arguments so that a changed file is checked anew."""
    try:
        content = path.read_bytes()
        picture = images.open_image(content, name=str(path)).picture
        pixels = photo_digests.shortened(photo_digests.digest_of_pixels(picture))
    except Exception as error:  # decoders may raise anything, and one file mustn't stop the others
        if faults.passes(error):
            raise RefusedError(f"{path}: {str(error) or repr(error)}") from error
        return Checked(str(error).removeprefix(f"{path}: ") or repr(error))
    damaged = damage.describe(damage.examine(content))
    return Checked(damaged=damaged, size=picture.size, pixels=pixels)
