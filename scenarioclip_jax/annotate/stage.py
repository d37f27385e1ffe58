"""What a stage is: something that makes an output for each photo, of the photo and the outputs before it."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from scenarioclip_jax.annotate.results import Cost, Failure, Photo
from scenarioclip_jax.annotate.settings import Settings

Output = dict[str, Any]  # as JSON


@dataclass(frozen=True)
class Task:
    """A photo to do.

    Attributes:
      photo: The photo.
      read: Reads the output of an earlier stage by its name.
    """

    photo: Photo
    read: Callable[[str], Output]


class Done(NamedTuple):
    """What became of a task."""

    id: str
    result: Output | Failure
    cost: Cost = Cost()


@dataclass(frozen=True)
class Stage:
    """A stage.

    Attributes:
      name: Its name: a command, a folder, a section of the settings.
      version: Raised when the same settings give other outputs.
      purpose: What it does, in a line.
      run: Does tasks, in any order.
      weights: The section of the settings whose `model` it loads in this process; empty if it loads none.
      resolve: Its settings with what an empty one stands for; without it, as they are given.
      is_on: Whether the settings ask for it.
    """

    name: str
    version: int
    purpose: str
    run: Callable[[Iterable[Task], Settings], Iterator[Done]]
    weights: Callable[[Settings], str] = lambda settings: ""
    resolve: Callable[[Settings], Any] | None = None
    is_on: Callable[[Settings], bool] = lambda settings: True

    def identity(self, settings: Settings) -> Output:
        """Everything but the photo that decides what the stage makes, as JSON.

        Args:
          settings: Settings whose revisions are those of the weights that are used (`weights.py`).
        """
        own = self.resolve(settings) if self.resolve else getattr(settings, self.name)
        values = {
            field.name: getattr(own, field.name)
            for field in dataclasses.fields(own)
            if field.metadata.get("effect", True)
        }
        identity: Output = {"stage": self.name, "version": self.version, "settings": values}
        if settings.of_truth(self.name):
            identity["truth"] = dataclasses.asdict(settings.truth)
            # It reads no other settings than what becomes of the verdicts.
            identity["settings"] = {key: values[key] for key in ("unsure",) if key in values}
        return identity
