"""Chooses which objects and relations of the scenes go into the fixed slots of a batch."""

import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.packing.further import FurtherText, wanted
from scenarioclip_jax.data.packing.patches import box_patches, region_patches, whole_view
from scenarioclip_jax.data.packing.rows import place
from scenarioclip_jax.data.photo import FittedScene, Shapes
from scenarioclip_jax.data.region_styles import shows_whole_view
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.stored.labels import relation_text
from scenarioclip_jax.data.stored.scene import Scene
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
    # By level, further texts with the index of the relation that each is about (0 for the scene itself).
    further: Mapping[str, Sequence[tuple[int, FurtherText]]] = MappingProxyType({})


class Count(NamedTuple):
    """Objects or relations of a group before packing, which the batch's own arrays don't show."""

    packable: int  # how many could have been packed
    hidden: int = 0  # how many were left out because they are hardly visible in the view
    further: int = 0  # how many further texts could have been packed


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
    further: dict[str, list[list[tuple[int, FurtherText]]]] = {}
    for level in LEVELS:
        if settings.level(level).further:
            further[level], count = _further(level, items, chosen[level], settings, tokenizer)
            counts[level] = counts[level]._replace(further=count)
    parts = [
        Part(
            item,
            {level: chosen[level][i] for level in FINER},
            counted=bool(i in taken),
            told=bool(item.text),
            further={level: each[i] for level, each in further.items()},
        )
        for i, item in enumerate(items)
    ]
    return parts, counts


def _further(
    level: str,
    items: Sequence[Item],
    chosen: Sequence[np.ndarray],
    settings: DataSettings,
    tokenizer: Tokenizer,
) -> tuple[list[list[tuple[int, FurtherText]]], int]:
    """Chooses further texts of the chosen slots of a level, by item, and counts those that there are."""
    own = [text_of(item, level, j) for item, of in zip(items, chosen, strict=True) for j in of]
    scenes = [(item.scene, item.text, item.seed) for item in items]
    some = {i: of for i, of in enumerate(chosen) if len(of)}
    found = wanted(level, scenes, some, settings)
    room = _Room(level, settings, tokenizer).most_further(own, found.texts)
    taken: list[list[tuple[int, FurtherText]]] = [[] for _ in items]
    for i, j, text in list(zip(*found, strict=True))[:room]:
        taken[i].append((j, text))
    return taken, len(found.texts)


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
        s, shape = self._settings, self._shape
        tokens = self._tokens(candidates.texts)

        def fits(n: int) -> bool:
            if not self._fit(set(candidates.texts[:n]), tokens):
                return False
            views = [len(each) for each in candidates.patches[:n]]
            return not views or place(views, shape.patch_rows, s.patch_row_tokens) is not None

        return _largest(min(len(candidates.owner), shape.slots), fits)

    def most_further(self, own: Sequence[str], further: Sequence[FurtherText]) -> int:
        """How many further texts fit beside the slots' own texts, counted from the first."""
        tokens = self._tokens([*own, *(each.text for each in further)])

        def fits(n: int) -> bool:
            return self._fit({*own, *(each.text for each in further[:n])}, tokens)

        return _largest(min(len(further), self._shape.further), fits)

    def _tokens(self, texts: Sequence[str]) -> dict[str, int]:
        """The number of tokens of each text; none if texts aren't packed."""
        if not self._shape.text_rows:
            return {}
        unique = list(dict.fromkeys(texts))
        encoded, _ = self._tokenizer.encode_ragged(unique, self._shape.text_length)
        return {text: len(ids) for text, ids in zip(unique, encoded, strict=True)}

    def _fit(self, texts: Set[str], tokens: Mapping[str, int]) -> bool:
        """Whether different texts find room in the rows."""
        rows = self._shape.text_rows
        lengths = [tokens[text] for text in texts] if rows else []
        return not rows or place(lengths, rows, self._settings.text_row_tokens) is not None


def _largest(count: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `count` that fits; 0 always does, and so does any below one that fits."""
    if fits(count):
        return count
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
