"""Makes the scene graphs of opened photos, for any model that embeds photos, boxes and texts.

Folders for PyTorch carry a copy of this module and of those that it imports.
"""

import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float
from PIL import Image

from scenarioclip_jax.data.photo_boxes import check_boxes
from scenarioclip_jax.data.stored.labels import labels_of, relation_text
from scenarioclip_jax.describe.boxes import Detector
from scenarioclip_jax.describe.scene_graph import FoundObject, FoundRelation, SceneGraph, best
from scenarioclip_jax.describe.texts import TextEncoder, Texts
from scenarioclip_jax.describe.word_lists import Words, WordsError


class Encoder(TextEncoder, Protocol):
    """What is needed of a model, see `inference.Model`."""

    def encode_image(self, images: Any, level: str = ...) -> Float[np.ndarray, "N D"]: ...

    def encode_objects(self, photo: Any, boxes: Any) -> Float[np.ndarray, "N D"]: ...

    def encode_relations(self, photo: Any, pairs: Any) -> Float[np.ndarray, "N D"]: ...

    def similarity(
        self, images: Float[np.ndarray, "N D"], texts: Float[np.ndarray, "M D"]
    ) -> Float[np.ndarray, "N M"]: ...

    def logit_scale(self, level: str = ...) -> float: ...

    def temperature(self, level: str = ...) -> float: ...

    def share_in_view(
        self, boxes: Float[np.ndarray, "N 4"], size: tuple[int, int]
    ) -> np.ndarray: ...


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
    for name, number in (
        ("actions", actions),
        ("relations", relations),
        ("most_pairs", most_pairs),
    ):
        if not isinstance(number, int | np.integer) or number < 0:
            raise ValueError(f"{name} is {number!r}; it must be a whole number, at least 0")
    # Most photos bring no names of their own, and a data set's words are read once for all of these.
    chosen_with = functools.lru_cache(maxsize=8)(words)
    texts, absent = texts or Texts(model), itertools.repeat(None)
    rest = absent if boxes is None else boxes, absent if names is None else names
    for picture, own, called in _together(pictures, *rest):
        known = None if called is None else _known(called)
        chosen = chosen_with(tuple(known or ()))
        places = _places(own, picture)
        if detector and not len(places):
            if not chosen.objects:
                raise WordsError("a detector looks for names of objects: give words for objects")
            places = detector(picture, chosen.objects)
        if len(places) and known is None and not chosen.objects:
            raise WordsError(
                "there are boxes but no names of objects: give words for objects, or names"
            )
        if not len(places) and not chosen.actions:
            raise WordsError("there is nothing to find: give boxes, or words for actions")
        found = _objects(model, texts, picture, places, known, chosen)
        acting = ()
        if chosen.actions and actions:
            whole = model.encode_image([picture], "global")
            shares = _shares(model, texts, whole, chosen.actions, "global")[0]
            acting = best(chosen.actions, shares, actions)
        pairs = _nearest(found, picture.size, most_pairs) if chosen.predicates and relations else []
        related = _relations(model, texts, picture, found, pairs, chosen.predicates, one_per_pair)
        yield SceneGraph(picture.size, acting, found, related[:relations], picture)


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


def _places(boxes: Any, picture: Image.Image) -> np.ndarray:
    """The boxes as [N, 4]; none if there are none."""
    if isinstance(boxes, Iterable) and not hasattr(boxes, "__len__"):
        boxes = list(boxes)
    if boxes is None or (hasattr(boxes, "__len__") and len(boxes) == 0):
        return np.zeros((0, 4), np.float32)
    return check_boxes(boxes, "object", picture.size)[:, 0]


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


def _objects(
    model: Encoder,
    texts: Texts,
    picture: Image.Image,
    boxes: np.ndarray,
    names: Sequence[str] | None,
    words: Words,
) -> tuple[FoundObject, ...]:
    if names is not None and len(names) != len(boxes):
        raise ValueError(f"names are {names!r}; give one for each of {len(boxes)} boxes")
    if not len(boxes):
        return ()
    corners = [tuple(map(float, box)) for box in boxes]
    seen = model.share_in_view(boxes, picture.size).tolist()
    if names is not None:
        each = zip(names, corners, seen, strict=True)
        return tuple(FoundObject(name, 1.0, box, (), share) for name, box, share in each)
    found = [FoundObject("", 0.0, box, (), 0.0) for box in corners]
    visible = [index for index, share in enumerate(seen) if share > 0]
    if visible:
        image = model.encode_objects(picture, boxes[visible])
        for index, shares in zip(
            visible, _shares(model, texts, image, words.objects, "object"), strict=True
        ):
            names_of = best(words.objects, shares, 5)
            found[index] = FoundObject(*names_of[0], corners[index], names_of, seen[index])
    return tuple(found)


def _shares(
    model: Encoder, embed: Texts, image: np.ndarray, texts: Sequence[str], level: str
) -> Float[np.ndarray, "N M"]:
    """The softmax over texts of the scaled cosines."""
    return _softmax(model, model.similarity(image, embed(texts, level)), level)


def _softmax(model: Encoder, cosines: np.ndarray, level: str) -> np.ndarray:
    logits = model.logit_scale(level) / model.temperature(level) * cosines.astype(np.float64)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _nearest(
    objects: Sequence[FoundObject], size: tuple[int, int], most: int
) -> list[tuple[int, int]]:
    """The pairs that are asked about: the surest names, and the smallest gaps between boxes, first."""
    diagonal = float(np.hypot(*size))

    def doubt(pair: tuple[int, int]) -> float:
        a, b = (objects[index] for index in pair)
        gaps = [max(a.box[k] - b.box[k + 2], b.box[k] - a.box[k + 2], 0.0) for k in (0, 1)]
        return float(np.hypot(*gaps)) / diagonal - float(np.log(a.score * b.score + 1e-12))

    visible = [index for index, each in enumerate(objects) if each.seen > 0]
    pairs = list(itertools.combinations(visible, 2))
    return sorted(sorted(pairs, key=doubt)[:most])


def _relations(
    model: Encoder,
    texts: Texts,
    picture: Image.Image,
    objects: Sequence[FoundObject],
    pairs: Sequence[tuple[int, int]],
    predicates: Sequence[str],
    one_per_pair: bool,
) -> tuple[FoundRelation, ...]:
    """The relations of pairs, the best first. Both directions of a pair compete with each other."""
    found = []
    for candidates, cosines in pair_cosines(model, texts, picture, objects, pairs, predicates):
        shares = _softmax(model, cosines, "relation")
        order = np.argsort(-shares, kind="stable")[: 1 if one_per_pair else None]
        for which in order.tolist():
            subject, predicate, object_ = candidates[which]
            score = shares[which] * objects[subject].score * objects[object_].score
            found.append(FoundRelation(subject, predicate, object_, float(score)))
    return tuple(sorted(found, key=lambda each: -each.score))


def pair_cosines(
    model: Encoder,
    embed: Texts,
    picture: Image.Image,
    objects: Sequence[FoundObject],
    pairs: Sequence[tuple[int, int]],
    predicates: Sequence[str],
) -> Iterator[tuple[list[tuple[int, str, int]], np.ndarray]]:
    """Yields, for each pair, the M things that may be said of it, and the cosine of each with the pair, [M]."""
    if not pairs:
        return
    image = model.encode_relations(
        picture, [[objects[index].box for index in pair] for pair in pairs]
    )
    asked = [dict(_asked(pair, objects, predicates)) for pair in pairs]
    texts = list(dict.fromkeys(text for of_pair in asked for text in of_pair))
    place = {text: index for index, text in enumerate(texts)}
    text = embed(texts, "relation")
    for index, of_pair in enumerate(asked):
        own = text[[place[each] for each in of_pair]]
        yield list(of_pair.values()), model.similarity(image[index : index + 1], own)[0]


def _asked(
    pair: tuple[int, int], objects: Sequence[FoundObject], predicates: Sequence[str]
) -> Iterator[tuple[str, tuple[int, str, int]]]:
    """Texts with what they mean; each text once, since two things of one name can't be told apart in words."""
    seen = set()
    for subject, object_ in (pair, pair[::-1]):
        for predicate in predicates:
            text = relation_text((objects[subject].name, predicate, objects[object_].name))
            if text not in seen:
                seen.add(text)
                yield text, (subject, predicate, object_)
