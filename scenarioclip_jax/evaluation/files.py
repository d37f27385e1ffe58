"""A suite's files: where they are, and finding its images, with errors that name file and record."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.evaluation import image_files
from scenarioclip_jax.evaluation.score.result import Skips

NAMED = 5  # images that a message names


class SuiteError(ReadableError, ValueError):
    """A suite can't be scored: one of its files is missing or malformed. The message names file and record.

    Attributes:
      reason: What is wrong.
      remedy: What to do about it; may be empty.
      listed: All images, or other items, that are affected.
    """

    def __init__(self, reason: str, remedy: str = "", listed: Sequence[str] = ()):
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason, self.remedy, self.listed = reason, remedy, list(listed)


class UnsupportedError(SuiteError):
    """The data set lacks what a suite needs, such as negatives or a validation split."""


class Wanted(NamedTuple):
    """A record whose images are to be found.

    Attributes:
      names: Names of its images, with or without extension, below the image folders.
      values: Other data that the suite needs from the record.
      crop: The part of its images that is used: (x0, y0, x1, y1) in pixels of the upright photo; None for all.
    """

    where: str
    names: tuple[str, ...]
    values: Any = None
    crop: tuple[float, float, float, float] | None = None


class Located(NamedTuple):
    """A record with its images, all of which can be read and hold its crop."""

    where: str
    paths: tuple[Path, ...]
    values: Any
    crop: tuple[float, float, float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Files:
    """Where a suite's files are.

    Attributes:
      path: The annotation file, or the folder with several.
      images: Folders that image names are relative to; the first that has the image is used.
      skip_missing: Whether to leave out and count records whose image is missing or unreadable, instead of
        stopping.
      suite: The suite's name in the config, for messages.
      threads: Number of threads that check images.
      proposals: File of boxes to score in place of the annotated ones (`evaluation.proposals`); None: those.
      digests: SHA-256 of each annotation file that was read, by path.
      photos: Digest of the pixels of each image that is scored (`data.photo_digests`), by path.
    """

    path: Path
    images: tuple[Path, ...]
    skip_missing: bool = False
    suite: str = "SUITE"
    threads: int = 2
    proposals: Path | None = None
    digests: dict[str, str] = dataclasses.field(default_factory=dict, compare=False)
    photos: dict[str, int] = dataclasses.field(default_factory=dict, compare=False)

    def locate(self, wanted: Sequence[Wanted], skips: Skips) -> list[Located]:
        """Finds the images of records and checks that each can be decoded.

        Images that are damaged but can be decoded are scored, and reported in `skips`. So are records whose
        crop lies outside of their image; these are left out.

        Raises:
          SuiteError: An image is missing or unreadable and may not be skipped, or is outside the folders; or no
            record is left.
        """
        finder = image_files.Finder(self.images, (name for each in wanted for name in each.names))
        found, absent = [], []
        for each in wanted:
            for name in each.names:
                if image_files.leaves(name):
                    raise SuiteError(
                        f"{each.where}: the image {name!r} must lie below the image folder"
                    )
            paths = tuple(map(finder.find, each.names))
            gone = [name for name, path in zip(each.names, paths, strict=True) if path is None]
            if gone:
                absent.append((each.where, gone))
            else:
                found.append(Located(each.where, paths, each.values, each.crop))
        checked = self._check({path for each in found for path in each.paths})
        reasons = {path: each.unreadable for path, each in checked.items() if each.unreadable}
        damaged = [each for each in found if any(path in reasons for path in each.paths)]
        kept = [each for each in found if not any(path in reasons for path in each.paths)]
        if not self.skip_missing:
            self._refuse(absent, reasons, damaged)
        whole = len(kept)
        kept = [each for each in kept if _holds_crop(each, skips)]
        scored = {path for each in kept for path in each.paths}
        self.photos.update({str(path): image_files.pixels_digest(path) for path in scored})
        skips.damaged |= {str(path): checked[path].damaged for path in checked.keys() & scored}
        for where, names in absent:
            skips.add("image is missing", f"{where}: {', '.join(names)}")
        for each in damaged:
            bad = next(path for path in each.paths if path in reasons)
            skips.add("image can't be read", f"{each.where}: {bad}: {reasons[bad]}")
        if wanted and not kept:
            raise SuiteError(
                f"{wanted[0].where}: no record is left: of {len(wanted)}, {len(absent)} lack an image in "
                f"{self._folders()}, {len(damaged)} have one that can't be read, and {whole - len(kept)} a "
                "box outside of it",
                f"name the folder of the images with --config.{self.suite}.images=DIR",
                listed=[name for _, names in absent for name in names],
            )
        return kept

    def _check(self, paths: Collection[Path]) -> dict[Path, image_files.Checked]:
        try:
            return image_files.check(paths, self.threads)
        except image_files.RefusedError as error:
            raise SuiteError(
                f"{self.path}: an image was refused by the system, which says nothing of the image: {error}",
                "see to that and run it again",
            ) from error

    def _folders(self) -> str:
        return " or ".join(map(str, self.images))

    def _refuse(self, absent: list, reasons: Mapping[Path, str], damaged: list[Located]) -> None:
        """Raises SuiteError if an image is missing or unreadable."""
        remedies = "set config.skip_missing=True to leave such records out and count them"
        if absent:
            where, names = absent[0]
            others = sum(len(names) for _, names in absent) - 1
            more = f", nor are {others} others" if others else ""
            raise SuiteError(
                f"{where}: the image {names[0]!r} isn't in {self._folders()}{more}",
                f"name their folder with config.{self.suite}.images=DIR, or {remedies}",
                listed=[name for _, names in absent for name in names]
                + [f"{path}: {why}" for path, why in reasons.items()],
            )
        if damaged:
            listed = [f"{path}: {why}" for path, why in sorted(reasons.items())]
            first = next(path for path in damaged[0].paths if path in reasons)
            others = len(listed) - 1
            more = f", nor can {others} other image{'s' if others > 1 else ''}" if others else ""
            raise SuiteError(
                f"{damaged[0].where}: {first}: the image can't be read{more}: {reasons[first]}",
                f"get them again, or {remedies}",
                listed=listed,
            )


def _holds_crop(record: Located, skips: Skips) -> bool:
    """Whether the record's crop shares pixels with its images; if not, that is noted."""
    if record.crop is None:
        return True
    for path in record.paths:
        size = image_files.size_of(path)
        if image_files.pixels_of(record.crop, size) is None:
            box = ", ".join(f"{edge:g}" for edge in record.crop)
            skips.add(
                "its box lies outside of its picture",
                f"{record.where}: ({box}) in {path}, {size[0]} x {size[1]} pixels",
            )
            return False
    return True
