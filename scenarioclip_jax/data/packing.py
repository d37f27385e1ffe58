"""Packing: ragged scenes into the fixed slots of a `Batch`."""

import bisect
import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.data.batch import Batch, Rows
from scenarioclip_jax.data.patches import box_patches, region_patches, whole_view
from scenarioclip_jax.data.photo import FittedScene, Shapes
from scenarioclip_jax.data.rows import empty_rows, place, write
from scenarioclip_jax.data.scene import Scene, relation_text
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.tokens import Tokenizer

# What each level is called in the fields of a `Batch`.
NAMES = {"global": "scene", "object": "object", "relation": "relation"}


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
    # False where the slot only continues a scene that was counted before, or the scene found no room.
    counted: bool


class Counts(NamedTuple):
    """Objects and relations of a group before packing: what a batch's own arrays can't tell."""

    objects: int  # that could have been packed
    relations: int
    hidden_objects: int = 0  # too little of the box lies inside the view
    hidden_relations: int = 0


def text_id(text: str) -> int:
    """A text's id: 31 bits of its BLAKE2b digest, the same in every run and process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") >> 1


class _Candidates(NamedTuple):
    """What of a level could be packed, in order of priority."""

    owner: np.ndarray  # int [n]: index of the item
    index: np.ndarray  # int [n]: in its scene
    texts: list[str]
    patches: list[np.ndarray]  # empty where pictures aren't packed


def pack_training_group(
    items: Sequence[Item], settings: DataSettings, tokenizer: Tokenizer
) -> tuple[list[Part], Counts]:
    """Chooses what of S scenes is trained on.

    Objects and relations that hardly show in the view are left out. Where more are left than there is room
    for (slots, rows for their texts, rows for their patches), each draws a number from its scene's seed and
    the smallest stay: the choice depends neither on the order of the annotation nor on anything outside the
    group. A scene whose action finds no room is left out with all that it has.

    Returns:
      The parts in the order of `items`, and the counts.
    """
    draws = [np.random.default_rng(item.seed) for item in items]
    found, counts, hidden = {}, [], []
    for level in ("object", "relation"):
        areas = [
            item.fitted.object_area if level == "object" else item.fitted.region_area
            for item in items
        ]
        visible = [area >= max(settings.min_visible, 1e-6) for area in areas]
        priority = [draw.random(len(area)) for draw, area in zip(draws, areas, strict=True)]
        found[level] = _candidates(level, items, visible, priority, settings)
        counts.append(sum(int(v.sum()) for v in visible))
        hidden.append(sum(len(v) for v in visible) - counts[-1])
    every, priority = [np.ones(1, bool)] * len(items), [draw.random(1) for draw in draws]
    found["global"] = _candidates("global", items, every, priority, settings)

    taken = np.arange(len(items))
    chosen: dict[str, list[np.ndarray]] = {}
    for level in ("global", "object", "relation"):
        candidates = _of_owners(found[level], taken)
        room = _Room(level, settings, tokenizer)
        owner, index = (x[: room.most(candidates)] for x in candidates[:2])
        chosen[level] = [np.sort(index[owner == i]) for i in range(len(items))]
        if level == "global":
            taken = np.unique(owner)
    counted = np.isin(np.arange(len(items)), taken).tolist()
    parts = zip(items, chosen["object"], chosen["relation"], counted, strict=True)
    return [Part(*each) for each in parts], Counts(*counts, *hidden)


def _candidates(level: str, items, visible, priority, settings: DataSettings) -> _Candidates:
    owner = np.repeat(np.arange(len(items)), [v.sum() for v in visible])
    index = np.concatenate([np.flatnonzero(v) for v in visible])
    drawn = np.concatenate([p[v] for p, v in zip(priority, visible, strict=True)])
    order = np.argsort(drawn, kind="stable")
    owner, index = owner[order], index[order]
    texts = [text_of(items[i].scene, level, j) for i, j in zip(owner, index, strict=True)]
    patches = []
    if settings.patch_size and level != "global":
        shown = [shown_patches(item.fitted, level, settings) for item in items]
        patches = [shown[i][j] for i, j in zip(owner, index, strict=True)]
    return _Candidates(owner, index, texts, patches)


def _of_owners(candidates: _Candidates, owners: np.ndarray) -> _Candidates:
    keep = np.flatnonzero(np.isin(candidates.owner, owners))
    lists = ([each[i] for i in keep] if each else [] for each in candidates[2:])
    return _Candidates(candidates.owner[keep], candidates.index[keep], *lists)


class _Room:
    """What a group has room for at a level."""

    def __init__(self, level: str, settings: DataSettings, tokenizer: Tokenizer):
        slots = {"global": settings.scenes, "object": settings.objects}
        self._slots = (slots | {"relation": settings.relations})[level]
        self._level, self._settings, self._tokenizer = level, settings, tokenizer

    def most(self, candidates: _Candidates) -> int:
        """How many of the candidates fit, the first ones."""
        s, level, count = self._settings, self._level, min(len(candidates.owner), self._slots)
        tokens: dict[str, int] = {}
        if s.text_row:
            unique = list(dict.fromkeys(candidates.texts))
            encoded, _ = self._tokenizer.encode_ragged(unique, length_of(level, s))
            tokens = {text: len(ids) for text, ids in zip(unique, encoded, strict=True)}

        def fits(n: int) -> bool:
            texts = [tokens[text] for text in set(candidates.texts[:n])] if tokens else []
            if s.text_row and place(texts, s.text_rows(level), s.text_row) is None:
                return False
            views = [len(each) for each in candidates.patches[:n]]
            return not views or place(views, s.patch_rows(level), s.patch_tokens) is not None

        if fits(count):
            return count
        # The largest n that fits, for n from 0 (which does) to `count` (which doesn't).
        return bisect.bisect_left(range(count), True, key=lambda n: not fits(n + 1))


def text_of(scene: Scene, level: str, index: int) -> str:
    """What is told of a scene (`global`), its object or its relation."""
    if level == "global":
        return scene.action
    if level == "object":
        return scene.object_names[index]
    return relation_text(scene.relations[index].triplet)


def length_of(level: str, settings: DataSettings) -> int:
    """L of a level's texts."""
    return getattr(settings, {"global": "scene_length"}.get(level, f"{level}_length"))


def shown_patches(
    fitted: FittedScene | Shapes, level: str, settings: DataSettings
) -> list[np.ndarray]:
    """The patches of a scene's object or relation views, see `data.patches`."""
    if level == "object":
        return box_patches(fitted.object_boxes, settings.image_size, settings.patch_size)
    return region_patches(fitted.regions, settings.patch_size)


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
        self._settings = settings

    def add(self, group: int, parts: Sequence[Part], counts: Counts | None = None) -> None:
        """Writes one group.

        Args:
          group: index along G.
          parts: what to put in it, at most S.
          counts: before packing; default: those of `parts`.
        """
        batch, labels, settings = self._batch, self._labels, self._settings
        next_object, next_relation = 0, 0
        patches: dict[str, list[np.ndarray]] = {"object": [], "relation": []}
        for slot, part in enumerate(parts):
            scene, fitted = part.item.scene, part.item.fitted
            batch.canvas[group, slot] = fitted.canvas
            batch.extent[group, slot] = fitted.extent
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
            if settings.patch_size:
                for level, indices in (("object", part.objects), ("relation", part.relations)):
                    shown = shown_patches(fitted, level, settings)
                    patches[level] += [shown[index] for index in indices]
        batch.object_mask[group, :next_object] = True
        batch.relation_mask[group, :next_relation] = True
        if settings.patch_size:
            whole = whole_view(settings.image_size, settings.patch_size)
            _write_views(batch.scene_patch_rows, group, [whole] * settings.scenes)
            _write_views(batch.object_patch_rows, group, patches["object"])
            _write_views(batch.relation_patch_rows, group, patches["relation"])
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
        for level in NAMES:
            _write_texts(self._batch, self._labels, level, self._settings, tokenizer)
        return self._batch, self._labels


def _write_views(rows: Rows, group: int, sequences: Sequence[np.ndarray]) -> None:
    """Puts one view in each of the first slots; it is read out at its class token."""
    rows.read[group, : len(sequences)] = write(rows, group, sequences)


def _write_texts(
    batch: Batch, labels: Labels, level: str, settings: DataSettings, tokenizer: Tokenizer
) -> None:
    """Fills a level's tokens and text ids where its mask holds, and adds to `truncated` [G]."""
    mask, tokens, ids, rows = (
        getattr(batch, f"{NAMES[level]}_{kind}") for kind in ("mask", "tokens", "text", "text_rows")
    )
    texts = getattr(labels, f"{NAMES[level]}_text")
    for group, chosen in enumerate(mask):
        told = texts[group, chosen].tolist()
        ids[group, chosen] = [text_id(text) for text in told]
        if rows is None:
            tokens[group, chosen], cut = tokenizer.encode(told, length_of(level, settings))
        else:
            unique = list(dict.fromkeys(told))
            encoded, cut = tokenizer.encode_ragged(unique, length_of(level, settings))
            starts = write(rows, group, [np.arange(len(each)) for each in encoded])
            flat, end = tokens[group].reshape(-1), {}
            for text, start, each in zip(unique, starts, encoded, strict=True):
                flat[start : start + len(each)] = each
                end[text] = start + len(each) - 1  # a text is read out at its end
            rows.read[group, chosen] = [end[text] for text in told]
        batch.truncated[group] += cut


def text_tokens(batch: Batch, level: str, group: int, slot: int) -> np.ndarray:
    """The token ids of the text of one slot, int32 [L]."""
    tokens, rows = (getattr(batch, f"{NAMES[level]}_{kind}") for kind in ("tokens", "text_rows"))
    if rows is None:
        return tokens[group, slot]
    sequence = rows.sequence[group].reshape(-1)
    return tokens[group].reshape(-1)[sequence == sequence[rows.read[group, slot]]]


def empty_batch(groups: int, canvas_size: int, settings: DataSettings) -> Batch:
    """A batch of `groups` groups with every slot empty: the shapes and dtypes that a run will see."""
    g, s, o, r = groups, settings.scenes, settings.objects, settings.relations
    c, p = canvas_size, settings.image_size
    focus = settings.focus_images
    slots = {"global": s, "object": o, "relation": r}

    def token_shape(level: str) -> tuple[int, ...]:
        if settings.text_row:
            return g, settings.text_rows(level), settings.text_row
        return g, slots[level], length_of(level, settings)

    def text_rows(level: str) -> Rows | None:
        if not settings.text_row:
            return None
        return empty_rows(g, settings.text_rows(level), settings.text_row, slots[level])

    def patch_rows(level: str) -> Rows | None:
        if not settings.patch_size:
            return None
        return empty_rows(g, settings.patch_rows(level), settings.patch_tokens, slots[level])

    return Batch(
        canvas=np.zeros((g, s, c, c, 3), np.uint8),
        extent=np.zeros((g, s, 2), np.int32),
        aspect=np.zeros((g, s), np.float32),
        seed=np.zeros((g, s), np.uint32),
        scene_mask=np.zeros((g, s), bool),
        scene_tokens=np.zeros(token_shape("global"), np.int32),
        scene_text=np.zeros((g, s), np.int32),
        object_box=np.zeros((g, o, 4), np.float32),
        object_scene=np.zeros((g, o), np.int32),
        object_mask=np.zeros((g, o), bool),
        object_tokens=np.zeros(token_shape("object"), np.int32),
        object_text=np.zeros((g, o), np.int32),
        relation_region=np.zeros((g, r, p, p // 8), np.uint8),
        relation_scene=np.zeros((g, r), np.int32),
        relation_mask=np.zeros((g, r), bool),
        relation_tokens=np.zeros(token_shape("relation"), np.int32),
        relation_text=np.zeros((g, r), np.int32),
        relation_focus=np.zeros((g, r, c, c, 3), np.uint8) if focus else None,
        relation_has_focus=np.zeros((g, r), bool) if focus else None,
        object_count=np.zeros(g, np.int32),
        relation_count=np.zeros(g, np.int32),
        object_hidden=np.zeros(g, np.int32),
        relation_hidden=np.zeros(g, np.int32),
        truncated=np.zeros(g, np.int32),
        scene_text_rows=text_rows("global"),
        object_text_rows=text_rows("object"),
        relation_text_rows=text_rows("relation"),
        scene_patch_rows=patch_rows("global"),
        object_patch_rows=patch_rows("object"),
        relation_patch_rows=patch_rows("relation"),
    )


def _empty_labels(groups: int, settings: DataSettings) -> Labels:
    slots = (settings.scenes,) * 2 + (settings.objects,) * 2 + (settings.relations,) * 3
    arrays = [np.full((groups, n), "", object) for n in slots]
    for where in np.ndindex(arrays[-1].shape):
        arrays[-1][where] = []
    return Labels(*arrays)
