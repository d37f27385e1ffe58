"""What a build counts of the scenes that it writes."""

from collections import Counter
from collections.abc import Mapping, Sequence

from scenarioclip_jax.data.build.class_lists import CLASS_KINDS
from scenarioclip_jax.data.stored.labels import relation_text
from scenarioclip_jax.data.stored.scene import Scene
from scenarioclip_jax.data.stored.splits import SPLITS

MANY_CAPTIONS = 10_000  # that the tokenizer is trained on


class Statistics:
    """Counts of scenes, of all or of some of them.

    Args:
      classes: The classes that are listed, by kind; they are counted even if they don't occur.
    """

    def __init__(self, classes: Mapping[str, Sequence[str]] | None = None):
        self.scenes: Counter[str] = Counter()  # by split
        self.objects: Counter[int] = Counter()  # scenes by number of objects
        self.relations: Counter[int] = Counter()
        self.negatives = 0
        self.captions = 0
        self.some_captions: list[str] = []  # for the tokenizer
        self.texts: Counter[str] = Counter()  # scenes by what the whole scene has
        self.masks = 0  # of objects
        self._listed = {kind: list((classes or {}).get(kind, ())) for kind in CLASS_KINDS}
        # By kind and split. There may be millions of relation texts, so each has one entry, not a table.
        self._labels: dict[str, dict[str, Counter[str]]] = {
            kind: {split: Counter() for split in SPLITS} for kind in CLASS_KINDS
        }

    def add(self, scene: Scene, split: str) -> None:
        self.scenes[split] += 1
        self.objects[len(scene.object_names)] += 1
        self.relations[len(scene.relations)] += 1
        self.negatives += sum(len(relation.negatives) for relation in scene.relations)
        if scene.action:
            self._labels["actions"][split][scene.action] += 1
        self.texts["action"] += bool(scene.action)
        self.texts["captions"] += bool(scene.captions)
        self.texts["neither"] += not (scene.action or scene.captions)
        self.captions += len(scene.captions)
        # Where every scene has an action, captions are read only on demand.
        if split == "train" and not scene.action and len(self.some_captions) < MANY_CAPTIONS:
            self.some_captions += scene.captions
        self.masks += sum(map(bool, scene.object_masks))
        self._labels["objects"][split].update(scene.object_names)
        self._labels["relations"][split].update(
            relation_text(relation.triplet) for relation in scene.relations
        )

    def merge(self, other: "Statistics") -> None:
        """Adds the counts of other scenes."""
        for name in ("scenes", "objects", "relations", "texts"):
            getattr(self, name).update(getattr(other, name))
        for name in ("negatives", "captions", "masks"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.some_captions += other.some_captions
        del self.some_captions[MANY_CAPTIONS:]
        for kind, by_split in other._labels.items():
            for split, counts in by_split.items():
                self._labels[kind][split].update(counts)

    def class_counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """Returns {kind: {text: {split: count}}}, sorted by text: what is listed, and what occurs."""
        return {
            kind: {
                text: {split: counts[split][text] for split in SPLITS}
                for text in sorted({*self._listed[kind], *self.occurring()[kind]})
            }
            for kind, counts in self._labels.items()
        }

    def occurring(self) -> dict[str, list[str]]:
        """Returns the classes that occur, by kind, sorted."""
        return {
            kind: sorted(set().union(*counts.values())) for kind, counts in self._labels.items()
        }
