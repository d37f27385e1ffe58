"""Makes the scene graphs of opened photos, for any model that embeds photos, boxes and texts.

Folders for PyTorch carry a copy of this module and of those that it imports.
"""

import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from scenarioclip_jax.data.photo_boxes import check_boxes
from scenarioclip_jax.data.stored.labels import labels_of
from scenarioclip_jax.describe.asking import Encoder, alone, answered
from scenarioclip_jax.describe.boxes import Detector
from scenarioclip_jax.describe.scene_graph import SceneGraph
from scenarioclip_jax.describe.steps import Limits, graph_steps
from scenarioclip_jax.describe.texts import Texts
from scenarioclip_jax.describe.word_lists import Words, WordsError


def make_graphs(
    model: Encoder,
    pictures: Iterable[Image.Image],
    boxes: Iterable[Any] | None = None,
    *,
    words: Callable[[Collection[str]], Words],
    names: Iterable[Sequence[str]] | None = None,
    detector: Detector | None = None,
    actions: int = 5,
    relations: int = 20,
    one_per_pair: bool = True,
    most_pairs: int = 100,
    texts: Texts | None = None,
) -> Iterator[SceneGraph]:
    """Yields the scene graph of each upright RGB photo; each text is embedded once for all.

    Args:
      words: Makes the words to choose from, given the names of objects that are known.
      pictures: The opened photos.
      model, boxes, names, detector, actions, relations, one_per_pair, most_pairs, texts: As for
        `describe.describe_many`.

    Raises:
      WordsError, ValueError: As `describe.describe_many`.
    """
    limits = Limits(actions, relations, one_per_pair, most_pairs)
    limits.check()
    # Most photos bring no names of their own, and a data set's words are read once for all of these.
    chosen_with = functools.lru_cache(maxsize=8)(words)
    texts, absent = texts or Texts(model), itertools.repeat(None)
    rest = absent if boxes is None else boxes, absent if names is None else names
    for picture, own, called in _together(pictures, *rest):
        known = None if called is None else _known(called)
        chosen = chosen_with(tuple(known or ()))
        places = places_of(own, picture, chosen, detector)
        steps = graph_steps(model, picture, places, known, chosen, limits)
        yield answered(steps, alone(model, texts))


def places_of(
    boxes: Any, picture: Image.Image, words: Words, detector: Detector | None
) -> Float[np.ndarray, "N 4"]:
    """The boxes of a photo's objects: those that are given, or else what a detector finds.

    Raises:
      WordsError: There is no name that a detector could look for.
      ValueError: A box is empty or lies outside of the photo.
    """
    if isinstance(boxes, Iterable) and not hasattr(boxes, "__len__"):
        boxes = list(boxes)
    if boxes is not None and (not hasattr(boxes, "__len__") or len(boxes)):
        return check_boxes(boxes, "object", picture.size)[:, 0]
    if not detector:
        return np.zeros((0, 4), np.float32)
    if not words.objects:
        raise WordsError("a detector looks for names of objects: give words for objects")
    return detector(picture, words.objects)


def _together(
    photos: Iterable[Any], boxes: Iterable[Any], names: Iterable[Any]
) -> Iterator[tuple[Any, Any, Any]]:
    """Each photo with its boxes and names; raises ValueError if these end before the photos."""
    rest = {"boxes": iter(boxes), "names": iter(names)}
    for number, photo in enumerate(photos):
        found = {kind: next(each, rest) for kind, each in rest.items()}
        for kind, value in found.items():
            if value is rest:
                raise ValueError(f"{kind} are given for {number} photos, and there are more")
        yield photo, found["boxes"], found["names"]


def _known(names: Sequence[str]) -> list[str]:
    """Names in the form that labels have."""
    if isinstance(names, str):
        raise ValueError(f"names are {names!r}; give a list with one for each box")
    try:
        found = [text for name in names for text in labels_of([name])]
    except ValueError as error:
        raise ValueError(f"names: {error}") from None
    if "" in found:
        raise ValueError(f"names: number {found.index('')} is empty")
    return found
