"""Packing: ragged scenes into the fixed slots of a `Batch`."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.data.batch import Batch
from scenarioclip_jax.data.photo import FittedScene
from scenarioclip_jax.data.scene import Scene, relation_text
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.tokens import Tokenizer


class Labels(NamedTuple):
    """The strings behind a `Batch`, slot by slot; object arrays. Empty slots hold "" (or an empty list)."""

    scene_id: np.ndarray  # str [G, S]: also in a slot that repeats a scene
    scene_text: np.ndarray  # str [G, S]: the action
    object_id: np.ndarray  # str [G, O]: id of the object's scene
    object_text: np.ndarray  # str [G, O]
    relation_id: np.ndarray  # str [G, R]
    relation_text: np.ndarray  # str [G, R]
    relation_negatives: np.ndarray  # list[str] [G, R]: texts that are false of the photo


class Item(NamedTuple):
    """A scene on its way into a batch."""

    scene: Scene
    fitted: FittedScene
    seed: int  # uint32


class Part(NamedTuple):
    """Which of a scene's objects and relations go into one slot of a group."""

    item: Item
    objects: Sequence[int]
    relations: Sequence[int]
    counted: bool  # False where the slot only continues a scene that was counted before


class Counts(NamedTuple):
    """Objects and relations of a group before packing: what a batch's own arrays can't tell."""

    objects: int  # that could have been packed
    relations: int
    hidden_objects: int = 0  # too little of the box lies inside the view
    hidden_relations: int = 0


def text_id(text: str) -> int:
    """A text's id: 31 bits of its BLAKE2b digest, the same in every run and process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") >> 1


def pack_training_group(items: Sequence[Item], settings: DataSettings) -> tuple[list[Part], Counts]:
    """Chooses what of S scenes is trained on.

    Objects and relations that hardly show in the view are left out. Where more are left than there are
    slots, each draws a number from its scene's seed and the smallest stay: the choice depends neither on
    the order of the annotation nor on anything outside the group.

    Returns:
      The parts in the order of `items`, and the counts.
    """
    draws = [np.random.default_rng(item.seed) for item in items]
    chosen, counts, hidden = [], [], []
    for level, slots in (("object", settings.objects), ("relation", settings.relations)):
        areas = [
            item.fitted.object_area if level == "object" else item.fitted.region_area
            for item in items
        ]
        visible = [area >= max(settings.min_visible, 1e-6) for area in areas]
        priority = [draw.random(len(area)) for draw, area in zip(draws, areas, strict=True)]
        limit = _limit([p[v] for p, v in zip(priority, visible, strict=True)], slots)
        keep = [np.flatnonzero(v & (p <= limit)) for p, v in zip(priority, visible, strict=True)]
        chosen.append(keep)
        counts.append(sum(int(v.sum()) for v in visible))
        hidden.append(sum(len(v) for v in visible) - counts[-1])
    parts = [Part(*each, counted=True) for each in zip(items, *chosen, strict=True)]
    return parts, Counts(*counts, *hidden)


def _limit(priority: Sequence[np.ndarray], slots: int) -> float:
    """The largest priority that still gets one of the slots."""
    drawn = np.concatenate(priority) if priority else np.zeros(0)
    return np.inf if len(drawn) <= slots else np.partition(drawn, slots - 1)[slots - 1]


def evaluation_groups(items: Iterator[Item], settings: DataSettings) -> Iterator[list[Part]]:
    """Fills groups with scenes in order, so that each scene, object and relation comes exactly once.

    A scene that doesn't fit in what is left of a group opens the next one. One that doesn't fit in an empty
    group either goes on in the following groups, in slots that aren't counted again.
    """
    group: list[Part] = []
    room = [settings.objects, settings.relations]
    for item in items:
        left = [list(range(len(item.scene.object_names))), list(range(len(item.scene.relations)))]
        counted = True
        while counted or any(left):
            fits = all(len(one) <= space for one, space in zip(left, room, strict=True))
            if group and (len(group) == settings.scenes or not fits):
                yield group
                group, room = [], [settings.objects, settings.relations]
            part = [one[:space] for one, space in zip(left, room, strict=True)]
            group.append(Part(item, *part, counted=counted))
            left = [one[len(taken) :] for one, taken in zip(left, part, strict=True)]
            room = [space - len(taken) for space, taken in zip(room, part, strict=True)]
            counted = False
    if group:
        yield group


class BatchBuilder:
    """Writes parts into the arrays of a batch."""

    def __init__(self, groups: int, canvas_size: int, settings: DataSettings):
        self._batch = empty_batch(groups, canvas_size, settings)
        self._labels = _empty_labels(groups, settings)

    def add(self, group: int, parts: Sequence[Part], counts: Counts | None = None) -> None:
        """Writes one group.

        Args:
          group: index along G.
          parts: what to put in it, at most S.
          counts: before packing; default: those of `parts`.
        """
        batch, labels = self._batch, self._labels
        next_object, next_relation = 0, 0
        for slot, part in enumerate(parts):
            scene, fitted = part.item.scene, part.item.fitted
            batch.canvas[group, slot] = fitted.canvas
            batch.aspect[group, slot] = fitted.aspect
            batch.seed[group, slot] = part.item.seed
            batch.scene_mask[group, slot] = part.counted
            labels.scene_id[group, slot] = scene.id
            labels.scene_text[group, slot] = scene.action
            for index in part.objects:
                where = (group, next_object)
                batch.object_box[where] = fitted.object_boxes[index]
                batch.object_scene[where] = slot
                labels.object_id[where] = scene.id
                labels.object_text[where] = scene.object_names[index]
                next_object += 1
            for index in part.relations:
                where = (group, next_relation)
                self._add_relation(where, slot, part.item, index)
                next_relation += 1
        batch.object_mask[group, :next_object] = True
        batch.relation_mask[group, :next_relation] = True
        counts = counts or Counts(next_object, next_relation)
        batch.object_count[group], batch.relation_count[group] = counts[:2]
        batch.object_hidden[group], batch.relation_hidden[group] = counts[2:]

    def _add_relation(self, where: tuple[int, int], slot: int, item: Item, index: int) -> None:
        batch, labels = self._batch, self._labels
        relation, focus = item.scene.relations[index], item.fitted.focus[index]
        batch.relation_region[where] = item.fitted.regions[index]
        batch.relation_scene[where] = slot
        if focus is not None:
            if batch.relation_focus is None:
                raise ValueError(
                    f"scene {item.scene.id}: a focused region is stored as a picture; "
                    "set data.focus_images=True"
                )
            batch.relation_focus[where] = focus
            batch.relation_has_focus[where] = True
        labels.relation_id[where] = item.scene.id
        labels.relation_text[where] = relation_text(relation.triplet)
        labels.relation_negatives[where] = [relation_text(each) for each in relation.negatives]

    def finish(self, tokenizer: Tokenizer) -> tuple[Batch, Labels]:
        """Tokenises all texts and returns the batch."""
        batch, labels = self._batch, self._labels
        _write_texts(
            batch.scene_mask,
            labels.scene_text,
            batch.scene_tokens,
            batch.scene_text,
            batch.truncated,
            tokenizer,
        )
        _write_texts(
            batch.object_mask,
            labels.object_text,
            batch.object_tokens,
            batch.object_text,
            batch.truncated,
            tokenizer,
        )
        _write_texts(
            batch.relation_mask,
            labels.relation_text,
            batch.relation_tokens,
            batch.relation_text,
            batch.truncated,
            tokenizer,
        )
        return batch, labels


def _write_texts(mask, texts, tokens, ids, truncated, tokenizer: Tokenizer) -> None:
    """Fills `tokens`, `ids` [G, n] where `mask` holds, and adds to `truncated` [G]."""
    for group in range(len(mask)):
        chosen = mask[group]
        rows, cut = tokenizer.encode(texts[group, chosen].tolist(), tokens.shape[-1])
        tokens[group, chosen] = rows
        ids[group, chosen] = [text_id(text) for text in texts[group, chosen]]
        truncated[group] += cut


def empty_batch(groups: int, canvas_size: int, settings: DataSettings) -> Batch:
    """A batch of `groups` groups with every slot empty: the shapes and dtypes that a run will see."""
    g, s, o, r = groups, settings.scenes, settings.objects, settings.relations
    c, p = canvas_size, settings.image_size
    focus = settings.focus_images
    return Batch(
        canvas=np.zeros((g, s, c, c, 3), np.uint8),
        aspect=np.zeros((g, s), np.float32),
        seed=np.zeros((g, s), np.uint32),
        scene_mask=np.zeros((g, s), bool),
        scene_tokens=np.zeros((g, s, settings.scene_length), np.int32),
        scene_text=np.zeros((g, s), np.int32),
        object_box=np.zeros((g, o, 4), np.float32),
        object_scene=np.zeros((g, o), np.int32),
        object_mask=np.zeros((g, o), bool),
        object_tokens=np.zeros((g, o, settings.object_length), np.int32),
        object_text=np.zeros((g, o), np.int32),
        relation_region=np.zeros((g, r, p, p // 8), np.uint8),
        relation_scene=np.zeros((g, r), np.int32),
        relation_mask=np.zeros((g, r), bool),
        relation_tokens=np.zeros((g, r, settings.relation_length), np.int32),
        relation_text=np.zeros((g, r), np.int32),
        relation_focus=np.zeros((g, r, c, c, 3), np.uint8) if focus else None,
        relation_has_focus=np.zeros((g, r), bool) if focus else None,
        object_count=np.zeros(g, np.int32),
        relation_count=np.zeros(g, np.int32),
        object_hidden=np.zeros(g, np.int32),
        relation_hidden=np.zeros(g, np.int32),
        truncated=np.zeros(g, np.int32),
    )


def _empty_labels(groups: int, settings: DataSettings) -> Labels:
    slots = (settings.scenes,) * 2 + (settings.objects,) * 2 + (settings.relations,) * 3
    arrays = [np.full((groups, n), "", object) for n in slots]
    for where in np.ndindex(arrays[-1].shape):
        arrays[-1][where] = []
    return Labels(*arrays)
