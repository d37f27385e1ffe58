"""The working folder of a pipeline: where its photos are, its settings, and the records of its stages.

WORK/work.json            photos' folder, settings, and which weights the models' names stand for
WORK/STAGE/*.jsonl        records, see `records.py`
WORK/dataset/             what `assemble` makes
"""

import contextlib
import dataclasses
import fcntl
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scenarioclip_jax.annotate.line_files import WorkError, lock_file
from scenarioclip_jax.annotate.records import Records, Writer
from scenarioclip_jax.annotate.settings import Settings
from scenarioclip_jax.annotate.settings_file import settings_of
from scenarioclip_jax.annotate.shards import Shard
from scenarioclip_jax.data.build.photo_folders import Folders
from scenarioclip_jax.files import write_text

NAME = "work.json"
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Work:
    """A working folder.

    Attributes:
      folder: The folder.
      images: The folder of the photos.
      follow_links: Whether links may lead out of that folder.
      settings: Settings of the stages, as given.
      revisions: Which weights models stand for, by "model@revision" as in the settings.
    """

    folder: Path
    images: Path
    follow_links: bool
    settings: Settings
    revisions: dict[str, str]

    def records(self, stage: str, wanted: Callable[[str], bool] = lambda id: True) -> Records:
        """Reads the records of a stage."""
        return Records(self.folder / stage, wanted)

    def writer(self, stage: str, shard: Shard) -> Writer:
        """Opens the records of a stage for a share of the photos; raises WorkError."""
        return Writer(self.folder / stage, shard)

    def note_identity(self, stage: str, digest: str, identity: dict[str, Any]) -> None:
        """Writes what makes a stage's records, under the digest that they name."""
        file = self.folder / stage / f"made-by-{digest}.json"
        if not file.is_file():
            write_text(file, json.dumps(identity, indent=1, ensure_ascii=False) + "\n")

    def photos(self) -> Folders:
        """Finds photos below the photos' folder."""
        return Folders(self.images, follow_links=self.follow_links)

    def save(self) -> None:
        values = {
            "version": VERSION,
            "images": str(self.images),
            "follow_links": self.follow_links,
            "settings": dataclasses.asdict(self.settings),
            "revisions": self.revisions,
        }
        write_text(self.folder / NAME, json.dumps(values, indent=1, ensure_ascii=False) + "\n")

    def pinned(self) -> Settings:
        """The settings with the revisions that models' names stand for, as far as they are known."""
        found = {}
        for stage in ("caption", "detect", "segment", "verify"):
            own = getattr(self.settings, stage)
            if revision := self.revisions.get(f"{own.model}@{own.revision}"):
                found[stage] = dataclasses.replace(own, revision=revision)
        return dataclasses.replace(self.settings, **found)

    def reloaded(self) -> "Work":
        """With the revisions that are known now; another process, or an earlier stage, may have found some."""
        known = _read(self.folder / NAME).revisions
        return dataclasses.replace(self, revisions=self.revisions | known)

    def pin(self, stage: str, resolve: Callable[[str, str], str]) -> "Work":
        """Notes which weights a stage's model stands for, so that later processes use the same.

        Args:
          stage: The stage.
          resolve: Tells the revision of a model's name and the revision that was asked for.
        """
        own = getattr(self.settings, stage)
        name = f"{own.model}@{own.revision}"
        # The files of a folder may change, a commit on the hub doesn't.
        in_folder = Path(own.model).is_dir()
        if name in self.revisions and not in_folder:
            return self
        revision = resolve(own.model, own.revision)  # before the lock, because it may ask the hub
        with _alone(self.folder):
            known = _read(self.folder / NAME)  # with what others have noted meanwhile
            if not in_folder:  # who was first decides, also of two that start at once
                revision = known.revisions.get(name, revision)
            known = dataclasses.replace(known, revisions=known.revisions | {name: revision})
            known.save()
        return dataclasses.replace(self, revisions=known.revisions)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lets no other process change work.json."""
    with (folder / ".work.lock").open("ab") as file:
        lock_file(file, fcntl.LOCK_EX)
        yield


def open_work(
    folder: Path,
    images: Path | None = None,
    settings: Settings | None = None,
    *,
    follow_links: bool = False,
    verify: bool = False,
) -> Work:
    """Opens a working folder, or makes one.

    Args:
      folder: The working folder.
      images: The photos' folder; needed for a new one.
      settings: Settings that replace those of the folder.
      follow_links: Whether links may lead out of the photos' folder; stays so once it was said.
      verify: Whether to switch the stage `verify` on, whatever the settings say of it.

    Raises:
      WorkError: There is no working folder and none can be made, or it holds something else.
    """
    file, more = folder / NAME, {"follow_links": follow_links, "verify": verify}
    if images is not None:
        _check_images(folder, images)
    known = _read(file) if file.is_file() else None
    is_new = known is None
    if known is None:
        if images is None:
            raise WorkError(
                f"{folder}: isn't a working folder of this pipeline; give --images to make it one"
            )
        # Hidden ones may be of a process that makes it at the same moment, as tasks of an array do.
        if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
            if file.is_file():
                return open_work(folder, images, settings, **more)
            raise WorkError(f"--output={folder}: holds other files; name a new folder")
        known = Work(folder, images.resolve(), follow_links, Settings(), {})
    elif images is not None and images.resolve() != known.images:
        raise WorkError(
            f"--images={images}: {folder} has the photos of {known.images}; name another --output for others. "
            f"If that folder was moved, change its path in {file}"
        )
    elif not known.images.is_dir():
        raise WorkError(
            f"{known.images}: the photos' folder isn't there; mount it, or, if it was moved, write its path as "
            f"`images` into {file}"
        )
    work = _changed(known, settings, follow_links, verify)
    if work == known and not is_new:
        return work
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        # Other processes may have changed or made it meanwhile.
        was_made = is_new and file.is_file()
        if not was_made:
            now = known if is_new else _read(file)
            work = _changed(now, settings, follow_links, verify)
            work.save()
    return open_work(folder, images, settings, **more) if was_made else work


def _check_images(folder: Path, images: Path) -> None:
    if not images.is_dir():
        raise WorkError(f"--images={images}: isn't a folder; name the folder of your photos")
    if folder.resolve().is_relative_to(images.resolve()):
        raise WorkError(
            f"--output={folder}: lies in the photos' folder, whose files are all taken for photos; name another"
        )


def _changed(work: Work, settings: Settings | None, follow_links: bool, verify: bool) -> Work:
    """With what was asked for when it was opened."""
    settings = settings or work.settings
    if verify:
        enabled = dataclasses.replace(settings.verify, enabled=True)
        settings = dataclasses.replace(settings, verify=enabled)
    links = work.follow_links or follow_links
    return dataclasses.replace(work, settings=settings, follow_links=links)


def _read(file: Path) -> Work:
    try:
        values: Any = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WorkError(f"{file}: isn't JSON ({error}); mend what was edited") from error
    if not isinstance(values, dict):
        raise WorkError(f"{file}: should hold fields by name, got {str(values)[:80]!r}")
    for field, (is_right, wanted) in _FIELDS.items():
        if field not in values or not is_right(values[field]):
            told = f"got {str(values[field])[:80]!r}" if field in values else "it is missing"
            raise WorkError(f"{file}: {field}: should be {wanted}; {told}")
    return Work(
        file.parent,
        Path(values["images"]),
        values["follow_links"],
        settings_of(values["settings"], f"{file}: settings"),
        values["revisions"],
    )


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


# What is right in each field, and how it is told.
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "version": (lambda value: value == VERSION, f"{VERSION}, as this release writes it"),
    "images": (lambda value: isinstance(value, str) and Path(value).is_absolute(), "a whole path"),
    "follow_links": (lambda value: isinstance(value, bool), "true or false"),
    "settings": (lambda value: isinstance(value, dict), "settings by name"),
    "revisions": (_is_texts, "texts by the names of models"),
}
