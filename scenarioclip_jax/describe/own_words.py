"""The words of the data that a run was trained on."""

from pathlib import Path

from scenarioclip_jax.data.build.dataset import EMBEDDED
from scenarioclip_jax.data.stored.shards import find_dataset
from scenarioclip_jax.describe.vocabulary import read_words
from scenarioclip_jax.describe.word_lists import Words
from scenarioclip_jax.evaluation.run_data import Chosen, recorded


def own_words(model: str | Path) -> Words | None:
    """The classes of the data sets that a run's `config.json` names; those of a mixture together.

    Args:
      model: A run's workdir or address, or any other model that `scenarioclip_jax.load` takes.

    Returns:
      The words; None if the model isn't a run, or none of its data sets is where it was.

    Raises:
      CheckpointError: There is a `config.json` that isn't from a training run.
      StorageError: A data set in a bucket can't be copied.
    """
    places = [place for each in recorded(model) if (place := _place(each)) is not None]
    found = [read_words(place) for place in places]
    if not found:
        return None
    joined = (
        dict.fromkeys(text for lists in kind for text in lists) for kind in zip(*found, strict=True)
    )
    return Words(*map(tuple, joined))


def _place(data: Chosen) -> Path | None:
    """Where a data set is; None if it isn't there. Scenes aren't drawn for the sake of their words."""
    data = data.here()
    if data.is_drawn:
        place = EMBEDDED / "{num_scenes}-{seed}".format(**data.embedded)
    else:
        place = data.directory
    return place if place is not None and find_dataset(place) is not None else None
