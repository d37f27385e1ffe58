"""Where scenes come from: random access to the records of a split."""

import hashlib
import json
from typing import Protocol, runtime_checkable

import numpy as np

from scenarioclip_jax.data.stored.scene import Scene


@runtime_checkable
class Source(Protocol):
    """Random access to scenes. It is pickled to reach reading workers."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Scene: ...


def identity_digest(source: Source) -> str:
    """Digest of what tells a source from others, such as its files; empty if nothing does.

    A run's checkpoints keep it as `source` in their record `data`.
    """
    identity = getattr(source, "identity", "")
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16] if identity else ""


class ShuffledTexts:
    """Scenes with the texts of another, randomly drawn scene: a control in which nothing can be learned.

    If that scene has fewer objects or relations, its texts are repeated; if it has none, neither has this one.
    """

    def __init__(self, source: Source, seed: int):
        self._source, self._seed = source, seed
        self.identity = getattr(source, "identity", "")

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Scene:
        draw = np.random.default_rng([self._seed, index])
        scene, donor = self._source[index], self._source[int(draw.integers(len(self)))]
        names, relations = donor.object_names, donor.relations
        objects = len(scene.object_names) if names else 0
        return scene._replace(
            action=donor.action,
            captions=donor.captions,
            object_names=[names[i % len(names)] for i in range(objects)],
            object_boxes=scene.object_boxes[:objects],
            relations=[
                relation._replace(triplet=relations[i % len(relations)].triplet, negatives=[])
                for i, relation in enumerate(scene.relations)
                if relations
            ],
        )
