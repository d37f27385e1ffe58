"""Finds the scene graphs of several photos at once: what they ask of the model is computed together."""

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from scenarioclip_jax.data.photo_boxes import check_boxes
from scenarioclip_jax.describe.asking import Asked, Places, Wording
from scenarioclip_jax.describe.boxes import Detector
from scenarioclip_jax.describe.graphs import places_of
from scenarioclip_jax.describe.scene_graph import SceneGraph
from scenarioclip_jax.describe.steps import Limits, graph_steps
from scenarioclip_jax.describe.texts import Texts
from scenarioclip_jax.describe.word_lists import Words
from scenarioclip_jax.inference import Model

# The order of the steps of a photo. Photos whose next step comes first are taken there before all others, so
# that those come to be asked together.
_ORDER = ("object", "global", "relation")


class Wanted(NamedTuple):
    """A photo to describe.

    Attributes:
      picture: The upright RGB photo.
      boxes: The boxes of its objects, [N, 4]: x0, y0, x1, y1 in its pixels.
      words: The texts to choose from.
    """

    picture: Image.Image
    boxes: Any
    words: Words


def describe_together(
    model: Model, wanted: Sequence[Wanted], texts: Texts, detector: Detector | None = None
) -> list[SceneGraph]:
    """The scene graph of each photo, as `describe` finds it.

    Args:
      model: The model.
      wanted: The photos.
      texts: The texts that the model has embedded.
      detector: What finds boxes where a photo has none.

    Raises:
      WordsError, ValueError: As `describe`, for any of them.
    """
    steps = [
        graph_steps(
            *(model, each.picture, places_of(each.boxes, each.picture, each.words, detector)),
            *(None, each.words, Limits()),
        )
        for each in wanted
    ]
    return answered_together(steps, lambda asked: _answer(model, texts, asked))


def answered_together(
    all_steps: Sequence[Generator], answer: Callable[[Sequence[Asked]], Sequence[np.ndarray]]
) -> list[Any]:
    """Takes several steps to their ends; `answer` is asked for all that are at the same kind of step."""
    found: list[Any] = [None] * len(all_steps)
    waiting: dict[int, Asked] = {}

    def go_on(index: int, told: np.ndarray | None) -> None:
        try:
            waiting[index] = all_steps[index].send(told)
        except StopIteration as end:
            waiting.pop(index, None)
            found[index] = end.value

    for index in range(len(all_steps)):
        go_on(index, None)
    while waiting:
        first = min(map(_kind, waiting.values()))
        own = [index for index, asked in waiting.items() if _kind(asked) == first]
        answers = answer([waiting[index] for index in own])
        for index, told in zip(own, answers, strict=True):
            go_on(index, told)
    return found


def _kind(asked: Asked) -> tuple[int, bool]:
    return _ORDER.index(asked.level), isinstance(asked, Wording)


def _answer(model: Model, texts: Texts, asked: Sequence[Any]) -> list[np.ndarray]:
    """Answers several questions of one kind."""
    level = asked[0].level
    if isinstance(asked[0], Wording):
        texts([text for each in asked for text in each.texts], level)  # new ones at once
        return [texts(each.texts, level) for each in asked]
    assert all(isinstance(each, Places) for each in asked)
    if level == "global":
        found = model.encode_image([each.picture for each in asked], level)
        return list(found[:, None])
    places = [(each.picture, check_boxes(each.boxes, level, each.picture.size)) for each in asked]
    return model.encode_places_of(places, level)
