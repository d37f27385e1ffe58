"""Where scenes come from: random access to the records of a split."""

import bisect
import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from scenarioclip_jax.data.epochs import MixedEpochs
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


class Mixture:
    """Scenes of several data sets, numbered one after another.

    Attributes:
      names: Name of each data set, for people.
      epochs: The order in which a run reads them, by weight.

    Args:
      sources: The data sets by name.
      weights: Weight of each data set, a whole number.
    """

    def __init__(self, sources: dict[str, Source], weights: Sequence[int]):
        self.names, self._sources = tuple(sources), tuple(sources.values())
        counts = [len(source) for source in self._sources]
        self.epochs = MixedEpochs(counts, weights)
        self._starts = (0, *itertools.accumulate(counts))

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Scene:
        if not 0 <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        number = bisect.bisect_right(self._starts, index) - 1
        return self._sources[number][index - self._starts[number]]

    @property
    def identity(self) -> list:
        """The identities of the data sets, in order; weights are in `parts`."""
        return [getattr(source, "identity", "") for source in self._sources]

    @property
    def parts(self) -> list[dict[str, str | int]]:
        """What decides the order: by data set, `source` (its digest), `scenes` and `weight`, as JSON values."""
        # Weights as texts, since JSON readers may round whole numbers of more than 53 bits.
        return [
            {"source": identity_digest(source), "scenes": len(source), "weight": str(weight)}
            for source, weight in zip(self._sources, self.epochs.weights, strict=True)
        ]

    def map(self, change: Callable[[Source], Source]) -> "Mixture":
        """Returns a mixture of changed data sets."""
        changed = {n: change(s) for n, s in zip(self.names, self._sources, strict=True)}
        return Mixture(changed, self.epochs.weights)


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
                relation._replace(
                    triplet=relations[i % len(relations)].triplet,
                    negatives=relations[i % len(relations)].negatives,
                    paraphrases=relations[i % len(relations)].paraphrases,
                )
                for i, relation in enumerate(scene.relations)
                if relations
            ],
        )
