"""Finds the images of a data root by the paths in its annotations, and never one outside its folders."""

import functools
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from scenarioclip_jax import faults
from scenarioclip_jax.shell import to_paste


class PhotoError(ValueError):
    """An image can't be used; `reason` is the short name for the list of problems."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


class Folders:
    """The folders of images: the data root, then other folders.

    A path is tried as written in each folder; in the other folders also without its first part, so that
    `images/a.jpg` is found in a folder that replaces `images`. If it isn't found, it is tried with slashes for
    backslashes, with `%20` unquoted, and in any case and Unicode form, as long as only one file matches.

    Args:
      root: The data root.
      others: Additional folders of images.
      follow_links: Whether links may lead out of these folders.
    """

    def __init__(self, root: Path, others: Sequence[Path] = (), *, follow_links: bool = False):
        self.root, self.others = Path(root), tuple(map(Path, others))
        self.follow_links = follow_links
        self._real = [folder.resolve() for folder in (self.root, *self.others)]
        self._names = functools.lru_cache(4096)(_names)

    def __reduce__(self):
        # Without the cache, which can't be pickled.
        return _folders, (self.root, self.others, self.follow_links)

    def find(self, path: str) -> Path:
        """Returns the real path of an image.

        Raises:
          PhotoError: There is no such image; the reason is path_outside_root or missing_image.
          InputUnavailableError: The system refuses to tell.
        """
        try:
            found = faults.patiently(lambda: self._find(path) or self._alike(path), path)
            if found:
                return found
            hint = self._hint(path)
        except (PhotoError, faults.InputUnavailableError):
            raise
        except (OSError, ValueError, RuntimeError) as error:  # NUL bytes, overlong names, loops
            reason = f"{path[:200]!r} is no usable path: {error}"
            raise PhotoError("missing_image", reason[:600]) from error
        looked = "the data root" + (" and --images" if self.others else "")
        raise PhotoError("missing_image", f"there is no file {path!r} below {looked}{hint}")

    def _hint(self, path: str) -> str:
        """Says why an image may be missing, and what to do."""
        if "://" in path:
            return "; an address isn't a file, download it"
        parts = Path(path).parts
        if parts and not self.others and not (self.root / parts[0]).exists():
            return "; if the photos are elsewhere, name their folder: --images=DIR"
        return ""

    def respelled(self, path: str) -> bool:
        """Whether an image is found only by another spelling of its path."""
        return self._find(path) is None

    def _find(self, path: str) -> Path | None:
        if not path.strip():
            return None
        parts = Path(path).parts
        candidates = [self.root / path]
        for folder in self.others:
            candidates.append(folder / path)
            if len(parts) > 1 and not Path(path).is_absolute():
                candidates.append(folder.joinpath(*parts[1:]))
        outside = None
        for candidate in candidates:
            real = candidate.resolve()
            within = any(real.is_relative_to(folder) for folder in self._real)
            lexical = Path(os.path.normpath(os.path.abspath(candidate)))
            climbs = not any(
                lexical.is_relative_to(folder)
                for each in (self.root, *self.others)
                for folder in (each.resolve(), Path(os.path.abspath(each)))
            )
            dead = not within and not climbs and not _exists(real.parent)
            if not within and (climbs or dead or not self.follow_links):
                outside = outside or self._refusal(path, candidate, real, climbs)
            elif faults.is_file(real):
                return real
        if outside:
            raise outside
        return None

    def _refusal(self, path: str, candidate: Path, real: Path, climbs: bool) -> PhotoError:
        if climbs:
            detail = f"{path!r} leaves the data root; paths are relative to it"
            if Path(path).is_absolute() or path.startswith("~"):
                detail += (
                    "; name the folder that holds the photos, --images=DIR, and shorten the paths"
                )
            return PhotoError("path_outside_root", detail)
        link = next(
            (
                p
                for p in (*reversed(candidate.parents), candidate)
                if p.is_symlink() and _below(p, self.root)
            ),
            candidate,
        )
        target = link.resolve()
        if not _exists(target):
            detail = f"{path!r} isn't there: {link} is a link to {target}, which is missing"
            return PhotoError("missing_image", detail)
        folder = target if target.is_dir() else target.parent
        return PhotoError(
            "path_outside_root",
            f"{path!r} leaves the data root: {link} is a link to {target}. To allow that folder, add "
            f"{to_paste(f'--images={folder}')}; to allow all links, --follow-links",
        )

    def _alike(self, path: str) -> Path | None:
        """The only file whose path is the same except for slashes, quoting, case or Unicode form."""
        spellings = [path.strip().replace("\\", "/")]
        if "%" in path:
            spellings.append(unquote(spellings[0]))
        for spelling in spellings:
            if found := self._find(spelling):
                return found
            parts = [part for part in Path(spelling).parts if part != "."]
            if not parts or ".." in parts or Path(spelling).is_absolute():
                continue
            for folder in (self.root, *self.others):
                for tail in (parts, parts[1:]) if folder is not self.root else (parts,):
                    if tail and (found := self._walk(folder, tail)):
                        return self._find(os.path.relpath(found, folder)) or found
        return None

    def _walk(self, folder: Path, parts: Sequence[str]) -> Path | None:
        for part in parts:
            if not _exists(folder / part):
                same = self._names(folder).get(_folded(part), [])
                if len(same) != 1:
                    return None
                part = same[0]
            folder = folder / part
        real = folder.resolve()
        inside = self.follow_links or any(real.is_relative_to(each) for each in self._real)
        return real if inside and faults.is_file(real) else None


def _folders(root: Path, others: Sequence[Path], follow_links: bool) -> Folders:
    return Folders(root, others, follow_links=follow_links)


def _below(path: Path, root: Path) -> bool:
    return path != root and path.is_relative_to(root)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _names(folder: Path) -> dict[str, list[str]]:
    """A folder's entries by their names in one case and one Unicode form."""
    found: dict[str, list[str]] = {}
    try:
        for name in sorted(os.listdir(folder)):
            found.setdefault(_folded(name), []).append(name)
    except (OSError, ValueError) as error:
        if faults.passes(error):
            raise
    return found


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
