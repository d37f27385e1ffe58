"""A photo's scene graph, step by step: what is asked of a model next depends on what it has said.

Folders for PyTorch carry a copy of this module.
"""

import itertools
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from scenarioclip_jax.data.stored.labels import relation_text
from scenarioclip_jax.describe.asking import Asked, Encoder, Places, Wording
from scenarioclip_jax.describe.scene_graph import FoundObject, FoundRelation, SceneGraph, best
from scenarioclip_jax.describe.word_lists import Words, WordsError
from scenarioclip_jax.errors import ReadableError


class NotFiniteError(ReadableError, ValueError):
    """A model gives embeddings that can't be compared."""


class Limits(NamedTuple):
    """How much is looked for, see `describe.describe`."""

    actions: int = 5
    relations: int = 20
    one_per_pair: bool = True
    most_pairs: int = 100

    def check(self) -> None:
        """Raises ValueError if a number isn't one."""
        for name in ("actions", "relations", "most_pairs"):
            number = getattr(self, name)
            if not isinstance(number, int | np.integer) or number < 0:
                raise ValueError(f"{name} is {number!r}; it must be a whole number, at least 0")


def graph_steps(
    model: Encoder,
    picture: Image.Image,
    places: Float[np.ndarray, "N 4"],
    names: Sequence[str] | None,
    words: Words,
    limits: Limits,
) -> Generator[Asked, np.ndarray, SceneGraph]:
    """The steps that find a scene graph.

    Args:
      model: The model, which is asked for no embedding here.
      picture: The upright RGB photo.
      places: The boxes of its objects, in pixels.
      names: The names of these, if they are known.
      words: The texts to choose from.
      limits: How much is looked for.

    Raises:
      WordsError: There are no words for what is asked.
      ValueError: Names aren't as many as boxes.
      NotFiniteError: The model's embeddings can't be compared.
    """
    if len(places) and names is None and not words.objects:
        raise WordsError(
            "there are boxes but no names of objects: give words for objects, or names"
        )
    if not len(places) and not words.actions:
        raise WordsError("there is nothing to find: give boxes, or words for actions")
    found = yield from _object_steps(model, picture, places, names, words.objects)
    acting = ()
    if words.actions and limits.actions:
        shares = yield from _share_steps(model, Places("global", picture), words.actions)
        acting = best(words.actions, shares[0], limits.actions)
    related = []
    if words.predicates and limits.relations:
        pairs = _nearest(found, picture.size, limits.most_pairs)
        of_pairs = yield from pair_steps(model, picture, found, pairs, words.predicates)
        related = _relations(model, found, of_pairs, limits.one_per_pair)
    return SceneGraph(picture.size, acting, found, tuple(related[: limits.relations]), picture)


def _object_steps(
    model: Encoder,
    picture: Image.Image,
    boxes: np.ndarray,
    names: Sequence[str] | None,
    words: Sequence[str],
) -> Generator[Asked, np.ndarray, tuple[FoundObject, ...]]:
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
        shares = yield from _share_steps(model, Places("object", picture, boxes[visible]), words)
        for index, own in zip(visible, shares, strict=True):
            names_of = best(words, own, 5)
            found[index] = FoundObject(*names_of[0], corners[index], names_of, seen[index])
    return tuple(found)


def _share_steps(
    model: Encoder, places: Places, texts: Sequence[str]
) -> Generator[Asked, np.ndarray, np.ndarray]:
    """The softmax over texts of the scaled cosines with each place, [N, M]."""
    image = yield places
    text = yield Wording(places.level, texts)
    return _softmax(model, model.similarity(image, text), places.level)


def _softmax(model: Encoder, cosines: np.ndarray, level: str) -> np.ndarray:
    if not np.isfinite(cosines).all():
        raise NotFiniteError(
            f"the model's embeddings at the level {level!r} hold NaN, infinity or nothing but zeros, so "
            "nothing can be scored: take another checkpoint, or compute in float32"
        )
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
    objects: Sequence[FoundObject],
    of_pairs: Sequence[tuple[list[tuple[int, str, int]], np.ndarray]],
    one_per_pair: bool,
) -> list[FoundRelation]:
    """The relations of pairs, the best first. Both directions of a pair compete with each other."""
    found = []
    for candidates, cosines in of_pairs:
        shares = _softmax(model, cosines, "relation")
        order = np.argsort(-shares, kind="stable")[: 1 if one_per_pair else None]
        for which in order.tolist():
            subject, predicate, object_ = candidates[which]
            score = shares[which] * objects[subject].score * objects[object_].score
            found.append(FoundRelation(subject, predicate, object_, float(score)))
    return sorted(found, key=lambda each: -each.score)


def pair_steps(
    model: Encoder,
    picture: Image.Image,
    objects: Sequence[FoundObject],
    pairs: Sequence[tuple[int, int]],
    predicates: Sequence[str],
) -> Generator[Asked, np.ndarray, list[tuple[list[tuple[int, str, int]], np.ndarray]]]:
    """For each pair, the M things that may be said of it, and the cosine of each with the pair, [M]."""
    if not pairs:
        return []
    image = yield Places(
        "relation", picture, [[objects[index].box for index in pair] for pair in pairs]
    )
    asked = [dict(_asked(pair, objects, predicates)) for pair in pairs]
    texts = list(dict.fromkeys(text for of_pair in asked for text in of_pair))
    place = {text: index for index, text in enumerate(texts)}
    text = yield Wording("relation", texts)
    found = []
    for index, of_pair in enumerate(asked):
        own = text[[place[each] for each in of_pair]]
        cosines = model.similarity(image[index : index + 1], own)[0]
        found.append((list(of_pair.values()), cosines))
    return found


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
