"""Finds the actions, the names of objects and the relations of a photo."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float
from PIL import Image

from scenarioclip_jax.data.damage import open_checked
from scenarioclip_jax.data.photo_boxes import check_boxes
from scenarioclip_jax.data.stored.labels import labels_of
from scenarioclip_jax.data.stored.scene import relation_text
from scenarioclip_jax.describe.scene_graph import FoundObject, FoundRelation, SceneGraph, best
from scenarioclip_jax.describe.vocabulary import Source, Words, WordsError, read_words


class Encoder(Protocol):
    """What is needed of a model, see `inference.Model`."""

    def encode_image(self, images: Any, level: str = ...) -> Float[np.ndarray, "N D"]: ...

    def encode_objects(self, photo: Any, boxes: Any) -> Float[np.ndarray, "N D"]: ...

    def encode_relations(self, photo: Any, pairs: Any) -> Float[np.ndarray, "N D"]: ...

    def encode_text(
        self, texts: str | Sequence[str], level: str = ...
    ) -> Float[np.ndarray, "N D"]: ...

    def similarity(
        self, images: Float[np.ndarray, "N D"], texts: Float[np.ndarray, "M D"]
    ) -> Float[np.ndarray, "N M"]: ...

    def logit_scale(self, level: str = ...) -> float: ...

    def temperature(self, level: str = ...) -> float: ...


def describe(
    model: Encoder,
    photo: Any,
    boxes: Any = (),
    *,
    words: Source,
    names: Sequence[str] | None = None,
    actions: int = 5,
    relations: int = 20,
    one_per_pair: bool = True,
    most_pairs: int = 100,
) -> SceneGraph:
    """Finds the actions, the names of objects and the relations of a photo; see `inference.Model.describe`."""
    for name, number in (
        ("actions", actions),
        ("relations", relations),
        ("most_pairs", most_pairs),
    ):
        if not isinstance(number, int) or number < 0:
            raise ValueError(f"{name} is {number!r}; it must be a whole number, at least 0")
    chosen = read_words(words)
    picture = open_checked(photo).picture
    places = _places(boxes, picture)
    if len(places) and names is None and not chosen.objects:
        raise WordsError(
            "there are boxes but no names of objects: give words for objects, or names"
        )
    found = _objects(model, picture, places, names, chosen)
    acting = ()
    if chosen.actions and actions:
        whole = model.encode_image([picture], "global")
        acting = best(chosen.actions, _shares(model, whole, chosen.actions, "global")[0], actions)
    pairs = _nearest(found, picture.size, most_pairs) if chosen.predicates and relations else []
    related = _relations(model, picture, found, pairs, chosen.predicates, one_per_pair)
    return SceneGraph(picture.size, acting, found, related[:relations], picture)


def _places(boxes: Any, picture: Image.Image) -> np.ndarray:
    """The boxes as [N, 4]; none if there are none."""
    if boxes is None or len(boxes) == 0:
        return np.zeros((0, 4), np.float32)
    return check_boxes(boxes, "object", picture.size)[:, 0]


def _objects(
    model: Encoder,
    picture: Image.Image,
    boxes: np.ndarray,
    names: Sequence[str] | None,
    words: Words,
) -> tuple[FoundObject, ...]:
    corners = [tuple(map(float, box)) for box in boxes]
    if names is not None:
        if isinstance(names, str) or len(names) != len(boxes):
            raise ValueError(f"names are {names!r}; give one for each of {len(boxes)} boxes")
        known = labels_of(list(names)) if len(names) else []
        return tuple(FoundObject(n, 1.0, box, ()) for n, box in zip(known, corners, strict=True))
    if not corners:
        return ()
    shares = _shares(model, model.encode_objects(picture, boxes), words.objects, "object")
    found = []
    for box, share in zip(corners, shares, strict=True):
        names_of = best(words.objects, share, 5)
        found.append(FoundObject(*names_of[0], box, names_of))
    return tuple(found)


def _shares(
    model: Encoder, image: np.ndarray, texts: Sequence[str], level: str
) -> Float[np.ndarray, "N M"]:
    """The softmax over texts of the scaled cosines."""
    return _softmax(model, model.similarity(image, model.encode_text(texts, level)), level)


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

    pairs = list(itertools.combinations(range(len(objects)), 2))
    return sorted(sorted(pairs, key=doubt)[:most])


def _relations(
    model: Encoder,
    picture: Image.Image,
    objects: Sequence[FoundObject],
    pairs: Sequence[tuple[int, int]],
    predicates: Sequence[str],
    one_per_pair: bool,
) -> tuple[FoundRelation, ...]:
    """The relations of pairs, the best first. Both directions of a pair compete with each other."""
    found = []
    for candidates, cosines in pair_cosines(model, picture, objects, pairs, predicates):
        shares = _softmax(model, cosines, "relation")
        order = np.argsort(-shares, kind="stable")[: 1 if one_per_pair else None]
        for which in order.tolist():
            subject, predicate, object_ = candidates[which]
            score = shares[which] * objects[subject].score * objects[object_].score
            found.append(FoundRelation(subject, predicate, object_, float(score)))
    return tuple(sorted(found, key=lambda each: -each.score))


def pair_cosines(
    model: Encoder,
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
    text = model.encode_text(texts, "relation")
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
