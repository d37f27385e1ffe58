"""Finds the files of a data set in a folder, by their official names."""

from collections.abc import Sequence
from pathlib import Path

from scenarioclip_jax.data.build.problems import NOTED
from scenarioclip_jax.importers.source import Run, SourceError
from scenarioclip_jax.storage.cache import local_copy


class Files:
    """Files of a folder.

    Args:
      folder: The folder, as the user named it.
      flag: The flag that named it, for messages.
      run: Lists files that are read, and notes those that aren't there.

    Raises:
      SourceError: It isn't a folder.
    """

    def __init__(self, folder: str, flag: str, run: Run):
        self.folder, self._flag, self._run = local_copy(folder), flag, run
        if not self.folder.is_dir():
            raise SourceError(
                f"{flag}={self.folder} isn't a folder; name the folder of the annotations"
            )

    def find(self, *names: str) -> Path | None:
        """The first file of these names that is there, plain or gzipped."""
        for name in names:
            for path in (self.folder / name, self.folder / f"{name}.gz"):
                if path.is_file():
                    self._run.files.append(str(path))
                    return path
        return None

    def optional(self, *names: str) -> Path | None:
        """Like `find`; that it isn't there is noted, since the records will lack what is in it."""
        if path := self.find(*names):
            return path
        detail = f"{self.folder} has no {' or '.join(names)}, so its contents are left out"
        self._run.problems.add("file_not_there", NOTED, "file", names[0], detail)
        return None

    def required(self, *names: str) -> Path:
        """Like `find`.

        Raises:
          SourceError: None of them is there.
        """
        if path := self.find(*names):
            return path
        raise self.missing(names)

    def missing(self, names: Sequence[str]) -> SourceError:
        """The error that none of some files is there."""
        there = sorted(p.name for p in self.folder.iterdir())[:8]
        zipped = [name for name in there if name.endswith(".zip")]
        hint = f"; unpack {', '.join(zipped)}" if zipped else ""
        return SourceError(
            f"{self._flag}={self.folder} has no {' or '.join(names)}{hint}; it has "
            f"{', '.join(there) or 'no files'}"
        )
