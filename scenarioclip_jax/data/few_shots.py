"""A training split of a few pictures of each class, as few-shot learning is measured."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from scenarioclip_jax.data.corrupt import Corrupt, read_scene
from scenarioclip_jax.data.source import Source, identity_digest
from scenarioclip_jax.data.stored.labels import relation_text
from scenarioclip_jax.data.stored.scene import Relation, Scene


class Kept(NamedTuple):
    """What is kept of a scene.

    Attributes:
      whole: Whether its action is.
      objects, relations: Which of its objects and relations are, ascending.
    """

    whole: bool
    objects: tuple[int, ...]
    relations: tuple[int, ...]


class FewShots:
    """The scenes of a source that show a chosen picture, each without the annotations that weren't chosen.

    Args:
      source: The scenes.
      kept: What is kept of each scene, by its index in `source`.
    """

    def __init__(self, source: Source, kept: Mapping[int, Kept]):
        self._source, self._kept = source, dict(sorted(kept.items()))
        self._indices = list(self._kept)
        self.identity = [identity_digest(source), [[i, *each] for i, each in self._kept.items()]]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Scene:
        if not 0 <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        index = self._indices[index]
        return reduce(self._source[index], self._kept[index])


def choose(source: Source, levels: Sequence[str], shots: int, draw: int) -> dict[int, Kept]:
    """Draws `shots` pictures of each class at each level; fewer of classes that have fewer.

    Scenes are taken in random order, and of each the pictures that are still wanted. Damaged records are passed
    over. Every scene of the split is read, though no photo is decoded.

    Args:
      source: The training split.
      levels: Levels whose classes count: actions at `global`, names at `object`, triplets at `relation`.
      shots: Pictures of a class, 1 or more.
      draw: Seed of the draw.

    Returns:
      What is kept, by index of the scene.
    """
    have: dict[tuple[str, str], int] = {}
    kept = {}
    for index in np.random.default_rng([draw, shots]).permutation(len(source)):
        scene = read_scene(source, int(index))
        if isinstance(scene, Corrupt):
            continue
        rows: dict[str, tuple[int, ...]] = {}
        for level, texts in _texts(scene).items():
            rows[level] = tuple(
                row
                for row, text in enumerate(texts if level in levels else ())
                if text and _take(have, (level, text), shots)
            )
        if any(rows.values()):
            kept[int(index)] = Kept(bool(rows["global"]), rows["object"], rows["relation"])
    return kept


def _texts(scene: Scene) -> dict[str, list[str]]:
    return {
        "global": [scene.action],
        "object": scene.object_names,
        "relation": [relation_text(relation.triplet) for relation in scene.relations],
    }


def _take(have: dict[tuple[str, str], int], key: tuple[str, str], shots: int) -> bool:
    """Whether another picture of a class is wanted; counts it if so."""
    wanted = have.get(key, 0) < shots
    have[key] = have.get(key, 0) + wanted
    return wanted


def reduce(scene: Scene, kept: Kept) -> Scene:
    """Returns the scene with only what is kept; a relation whose object is gone keeps its boxes."""
    places = {old: new for new, old in enumerate(kept.objects)}

    def of_objects(values: Sequence[Any]) -> list[Any]:
        return [values[row] for row in kept.objects] if len(values) else []

    return scene._replace(
        action=scene.action if kept.whole else "",
        captions=(),
        object_names=of_objects(scene.object_names),
        object_boxes=scene.object_boxes[list(kept.objects)].reshape(-1, 4),
        object_masks=of_objects(scene.object_masks),
        object_scores=of_objects(scene.object_scores),
        object_attributes=of_objects(scene.object_attributes),
        relations=[_placed(scene.relations[row], places) for row in kept.relations],
    )


def _placed(relation: Relation, places: Mapping[int, int]) -> Relation:
    """The relation, its participants numbered as those that are kept."""
    if relation.pair is None:
        return relation
    subject, object_ = (places.get(end) for end in relation.pair)
    pair = None if subject is None or object_ is None else (subject, object_)
    return relation._replace(pair=pair)
