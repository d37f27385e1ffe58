"""Chooses which objects and relations of the scenes go into the fixed slots of a batch."""

import bisect
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.packing.patches import box_patches, region_patches, whole_view
from scenarioclip_jax.data.packing.rows import place
from scenarioclip_jax.data.photo import FittedScene, Shapes
from scenarioclip_jax.data.region_styles import shows_whole_view
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.stored.scene import Scene, relation_text
from scenarioclip_jax.data.tokens import Tokenizer

FINER = ("object", "relation")  # the levels at which a scene may have any number of slots


class Item(NamedTuple):
    """A scene on its way into a batch."""

    scene: Scene
    fitted: FittedScene
    seed: int  # uint32
    text: str  # of the whole scene; "" if there is none


class Part(NamedTuple):
    """Which of a scene's objects and relations go into one slot of a group."""

    item: Item
    # By level, indices of its objects and relations.
    chosen: Mapping[str, Sequence[int] | np.ndarray]
    # False where the slot only continues a scene that was counted before, or the scene found no room.
    counted: bool
    told: bool = True  # whether the slot's scene has a text to train on


class Count(NamedTuple):
    """Objects or relations of a group before packing, which the batch's own arrays don't show."""

    packable: int  # how many could have been packed
    hidden: int = 0  # how many were left out because they are hardly visible in the view


class _Candidates(NamedTuple):
    """What could be packed at a level, in order of priority."""

    owner: np.ndarray  # int [n]: index of the item
    index: np.ndarray  # int [n]: index in its scene
    texts: list[str]
    patches: list[np.ndarray]  # empty if views aren't packed


def pack_training_group(
    items: Sequence[Item], settings: DataSettings, tokenizer: Tokenizer
) -> tuple[list[Part], dict[str, Count]]:
    """Chooses which parts of S scenes to train on.

    Objects and relations that are hardly visible in the view are left out. If more remain than there is room
    for (slots, rows for their texts, rows for their patches), each draws a number from its scene's seed and
    the smallest numbers stay. So the choice depends neither on the order of the annotation nor on anything
    outside the group. If there is no room for a scene's text, the whole scene is left out; a scene that has
    none is kept for its objects and relations.

    Returns:
      The parts in the order of `items`, and the counts of objects and relations by level.
    """
    draws = [np.random.default_rng(item.seed) for item in items]
    candidates, counts = {}, {}
    for level in (*FINER, "global"):  # in this order of draws
        areas = [_area(item, level) for item in items]
        visible = [area >= max(settings.min_visible_pixels, 1e-6) for area in areas]
        priority = [draw.random(len(area)) for draw, area in zip(draws, areas, strict=True)]
        candidates[level] = _candidates(level, items, visible, priority, settings)
        packable = sum(int(v.sum()) for v in visible)
        counts[level] = Count(packable, sum(map(len, visible)) - packable)

    taken = np.arange(len(items))
    chosen: dict[str, list[np.ndarray]] = {}
    for level in LEVELS:  # a scene without room takes its objects and relations with it
        of_level = _of_owners(candidates[level], taken)
        room = _Room(level, settings, tokenizer)
        owner, index = (x[: room.most(of_level)] for x in of_level[:2])
        chosen[level] = [np.sort(index[owner == i]) for i in range(len(items))]
        if level == "global":
            taken = np.union1d(owner, [i for i, item in enumerate(items) if not item.text])
    parts = [
        Part(
            item,
            {level: chosen[level][i] for level in FINER},
            counted=bool(i in taken),
            told=bool(item.text),
        )
        for i, item in enumerate(items)
    ]
    return parts, counts


def _area(item: Item, level: str) -> np.ndarray:
    """Like `visible_area`; a scene is shown whole, but not chosen if it has no text."""
    if level == "global":
        return np.full(1, np.inf if item.text else 0.0, np.float32)
    return visible_area(item.fitted, level)


def visible_area(shapes: Shapes | FittedScene, level: str) -> np.ndarray:
    """Visible area of each object or relation in the view, float32 [n], in pixels."""
    return shapes.object_area if level == "object" else shapes.region_area


def _candidates(level: str, items, visible, priority, settings: DataSettings) -> _Candidates:
    owner = np.repeat(np.arange(len(items)), [v.sum() for v in visible])
    index = np.concatenate([np.flatnonzero(v) for v in visible])
    drawn = np.concatenate([p[v] for p, v in zip(priority, visible, strict=True)])
    order = np.argsort(drawn, kind="stable")
    owner, index = owner[order], index[order]
    texts = [text_of(items[i], level, j) for i, j in zip(owner, index, strict=True)]
    patches = []
    if settings.patch_size and level in FINER:
        shown = [shown_patches(item.fitted, level, settings) for item in items]
        patches = [shown[i][j] for i, j in zip(owner, index, strict=True)]
    return _Candidates(owner, index, texts, patches)


def _of_owners(candidates: _Candidates, owners: np.ndarray) -> _Candidates:
    keep = np.flatnonzero(np.isin(candidates.owner, owners))
    texts = [candidates.texts[i] for i in keep]
    patches = [candidates.patches[i] for i in keep] if candidates.patches else []
    return _Candidates(candidates.owner[keep], candidates.index[keep], texts, patches)


class _Room:
    """The room that a group has at a level."""

    def __init__(self, level: str, settings: DataSettings, tokenizer: Tokenizer):
        self._shape = settings.level(level)
        self._settings, self._tokenizer = settings, tokenizer

    def most(self, candidates: _Candidates) -> int:
        """How many candidates fit, counted from the first."""
        s, shape, count = self._settings, self._shape, min(len(candidates.owner), self._shape.slots)
        tokens: dict[str, int] = {}
        if shape.text_rows:
            unique = list(dict.fromkeys(candidates.texts))
            encoded, _ = self._tokenizer.encode_ragged(unique, shape.text_length)
            tokens = {text: len(ids) for text, ids in zip(unique, encoded, strict=True)}

        def fits(n: int) -> bool:
            texts = [tokens[text] for text in set(candidates.texts[:n])] if tokens else []
            if shape.text_rows and place(texts, shape.text_rows, s.text_row_tokens) is None:
                return False
            views = [len(each) for each in candidates.patches[:n]]
            return not views or place(views, shape.patch_rows, s.patch_row_tokens) is not None

        if fits(count):
            return count
        # The largest n that fits, between 0 (which fits) and `count` (which doesn't).
        return bisect.bisect_left(range(count), True, key=lambda n: not fits(n + 1))


def text_of(item: Item, level: str, index: int) -> str:
    """The text of a scene (`global`), or of one of its objects or relations."""
    return item.text if level == "global" else name_of(item.scene, level, index)


def name_of(scene: Scene, level: str, index: int) -> str:
    """The text of one of a scene's objects or relations."""
    if level == "object":
        return scene.object_names[index]
    return relation_text(scene.relations[index].triplet)


def shown_patches(
    fitted: FittedScene | Shapes, level: str, settings: DataSettings
) -> list[np.ndarray]:
    """The patches of a scene's object or relation views, see `data.packing.patches`."""
    if level == "object":
        return box_patches(fitted.object_boxes, settings.image_size, settings.patch_size)
    if shows_whole_view(settings.region_style, level):
        return [whole_view(settings.image_size, settings.patch_size)] * len(fitted.regions)
    return region_patches(fitted.regions, settings.patch_size)


def evaluation_groups(items: Iterator[Item], settings: DataSettings) -> Iterator[list[Part]]:
    """Fills groups with scenes in order, so that each scene, object and relation appears exactly once.

    A scene that doesn't fit in the rest of a group starts the next one. If it doesn't fit in an empty group
    either, it continues in the following groups, in slots that aren't counted again.
    """
    slots = {level: settings.level(level).slots for level in FINER}
    group: list[Part] = []
    room = dict(slots)
    for item in items:
        scene = item.scene
        left = {"object": range(len(scene.object_names)), "relation": range(len(scene.relations))}
        counted = True
        while counted or any(left.values()):
            fits = all(len(left[level]) <= room[level] for level in FINER)
            if group and (len(group) == settings.scenes or not fits):
                yield group
                group, room = [], dict(slots)
            part = {level: left[level][: room[level]] for level in FINER}
            group.append(Part(item, part, counted=counted))
            for level, taken in part.items():
                left[level] = left[level][len(taken) :]
                room[level] -= len(taken)
            counted = False
    if group:
        yield group
