"""Writes the chosen parts of scenes into the fixed arrays of a `Batch`."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.data.batch import LEVELS, Batch, Further, Rows, Slots
from scenarioclip_jax.data.packing.choose import FINER, Count, Item, Part, shown_patches, text_of
from scenarioclip_jax.data.packing.further import FurtherText, pair_of
from scenarioclip_jax.data.packing.patches import whole_view
from scenarioclip_jax.data.packing.rows import empty_rows, write
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.stored.labels import relation_text
from scenarioclip_jax.data.tokens import Tokenizer


class Labels(NamedTuple):
    """The strings behind a level of a batch, slot by slot; object arrays. Empty slots hold "" or []."""

    scene_id: np.ndarray  # str [G, V]: id of the slot's scene, also in a slot that repeats a scene
    text: np.ndarray  # str [G, V]
    negatives: np.ndarray  # list[str] [G, V]: for relations, texts that are false for the photo


def text_id(text: str) -> int:
    """A text's id: 31 bits of its BLAKE2b digest, the same in every run and process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") >> 1


class BatchBuilder:
    """Writes parts into the arrays of a batch."""

    def __init__(self, groups: int, canvas_size: int, settings: DataSettings):
        self._batch = empty_batch(groups, canvas_size, settings)
        self._labels = {
            level: _empty_labels((groups, settings.level(level).slots)) for level in LEVELS
        }
        # By level and group: the further texts, in the order of their slots.
        self._further = {level: [[] for _ in range(groups)] for level in LEVELS}
        self._settings = settings

    def add(
        self, group: int, parts: Sequence[Part], counts: Mapping[str, Count] | None = None
    ) -> None:
        """Writes one group.

        Args:
          group: Index along G.
          parts: Parts to put into the group, at most S.
          counts: Counts before packing, by level; default: those of `parts`.
        """
        batch, settings = self._batch, self._settings
        views: dict[str, list[np.ndarray]] = {level: [] for level in LEVELS}
        filled = dict.fromkeys(FINER, 0)
        for scene, part in enumerate(parts):
            self._add_scene((group, scene), part)
            slot_of = {("global", 0): scene}
            for level in FINER:
                for index in part.chosen[level]:
                    where = (group, filled[level])
                    self._add_slot(level, where, scene, part.item, index)
                    slot_of[level, int(index)] = filled[level]
                    filled[level] += 1
                if settings.patch_size:
                    shown = shown_patches(part.item.fitted, level, settings)
                    views[level] += [shown[index] for index in part.chosen[level]]
            for level, further in part.further.items():
                for index, text in further:
                    self._add_further(level, group, slot_of[level, index], text)
        self._count_further(group, counts)
        for level in FINER:
            slots = batch.levels[level]
            slots.mask[group, : filled[level]] = True
            count = counts[level] if counts else Count(filled[level])
            slots.count[group], slots.hidden[group] = count.packable, count.hidden
        told = counts["global"].packable if counts else sum(part.counted for part in parts)
        batch.scenes.count[group] = told
        if settings.patch_size:
            whole = whole_view(settings.image_size, settings.patch_size)
            views["global"] = [whole] * settings.scenes
            for level in LEVELS:
                rows = batch.levels[level].patch_rows
                assert rows is not None  # as views are packed
                _write_views(rows, group, views[level])

    def _add_scene(self, where: tuple[int, int], part: Part) -> None:
        batch, item = self._batch, part.item
        batch.canvas[where] = item.fitted.canvas
        batch.extent[where] = item.fitted.extent
        batch.photo_size[where] = item.fitted.photo_size
        batch.seed[where] = item.seed
        batch.scenes.mask[where] = part.counted and part.told
        self._label("global", where, item, 0)

    def _add_further(self, level: str, group: int, slot: int, text: FurtherText) -> None:
        further, texts = self._batch.levels[level].further, self._further[level][group]
        assert further is not None  # whoever chooses further texts has room for them
        where = (group, len(texts))
        further.slot[where], further.kind[where], further.mask[where] = slot, text.kind, True
        further.text[where] = text_id(text.text)
        texts.append(text.text)

    def _count_further(self, group: int, counts: Mapping[str, Count] | None) -> None:
        for level in LEVELS:
            further = self._batch.levels[level].further
            if further is not None:
                filled = len(self._further[level][group])
                further.count[group] = counts[level].further if counts else filled

    def _add_slot(
        self, level: str, where: tuple[int, int], scene: int, item: Item, index: int
    ) -> None:
        """Writes one object or relation of the scene at index `scene` along S."""
        slots, fitted = self._batch.levels[level], item.fitted
        slots.scene[where] = scene
        self._label(level, where, item, index)
        if level == "object":
            assert slots.box is not None  # the level always has it
            slots.box[where] = fitted.object_boxes[index]
            return
        assert slots.region is not None  # the level always has it
        slots.region[where] = fitted.regions[index]
        if slots.ends is not None:
            slots.ends[where] = fitted.ends[index]
        if slots.pair is not None:
            ends = pair_of(item.scene.relations[index].triplet)
            slots.pair[where] = text_id("\n".join(ends))
        if slots.centers is not None:
            slots.centers[where] = fitted.centers[index]
        negatives = item.scene.relations[index].negatives
        self._labels[level].negatives[where] = [relation_text(each) for each in negatives]
        if fitted.focus[index] is not None:
            if slots.focus is None or slots.has_focus is None:
                raise ValueError(
                    f"scene {item.scene.id}: a focused region is stored as a picture; "
                    "set data.focus_images=True"
                )
            slots.focus[where] = fitted.focus[index]
            slots.has_focus[where] = True

    def _label(self, level: str, where: tuple[int, int], item: Item, index: int) -> None:
        labels = self._labels[level]
        labels.scene_id[where] = item.scene.id
        labels.text[where] = text_of(item, level, index)

    def finish(self, tokenizer: Tokenizer) -> tuple[Batch, dict[str, Labels]]:
        """Tokenizes all texts; returns the batch and its strings by level."""
        for level in LEVELS:
            texts = self._labels[level].text
            length = self._settings.level(level).text_length
            self._batch.truncated[:] += _write_texts(
                self._batch.levels[level], texts, self._further[level], length, tokenizer
            )
        return self._batch, self._labels


def _write_views(rows: Rows, group: int, sequences: Sequence[np.ndarray]) -> None:
    """Puts one view into each of the first slots, to be read out at its class token."""
    rows.read[group, : len(sequences)] = write(rows, group, sequences)


def _write_texts(
    slots: Slots,
    texts: np.ndarray,
    further: Sequence[Sequence[str]],
    length: int,
    tokenizer: Tokenizer,
) -> np.ndarray:
    """Fills a level's tokens, text ids and length of the longest text where its masks hold.

    Args:
      slots: The level's slots.
      texts: Their own texts, [G, V].
      further: Each group's further texts, in the order of their slots.
      length: Most tokens of a text.
      tokenizer: The tokenizer.

    Returns:
      int32 [G]: Number of texts that were cut to `length`.
    """
    truncated = np.zeros(len(slots.mask), np.int32)
    for group, filled in enumerate(slots.mask):
        told = texts[group, filled].tolist()
        slots.text[group, filled] = [text_id(text) for text in told]
        told += further[group]
        if slots.further is not None:
            filled = np.concatenate([filled, slots.further.mask[group]])
        unique = told if slots.text_rows is None else list(dict.fromkeys(told))
        encoded, whole = tokenizer.encode_ragged(unique, length)
        truncated[group] = sum(each > length for each in whole)
        slots.longest[group] = max(whole, default=0)
        if slots.text_rows is None:
            slots.tokens[group, filled] = tokenizer.pad(encoded, length)
            continue
        starts = write(slots.text_rows, group, [np.arange(len(each)) for each in encoded])
        flat, end = slots.tokens[group].reshape(-1), {}
        for text, start, each in zip(unique, starts, encoded, strict=True):
            flat[start : start + len(each)] = each
            end[text] = start + len(each) - 1  # a text is read out at its end
        slots.text_rows.read[group, filled] = [end[text] for text in told]
    return truncated


def text_tokens(slots: Slots, group: int, slot: int) -> np.ndarray:
    """The token ids of the text in one slot of a level, int32 [L]."""
    rows = slots.text_rows
    if rows is None:
        return slots.tokens[group, slot]
    sequence = rows.sequence[group].reshape(-1)
    return slots.tokens[group].reshape(-1)[sequence == sequence[rows.read[group, slot]]]


def empty_batch(groups: int, canvas_size: int, settings: DataSettings) -> Batch:
    """A batch of `groups` groups with all slots empty; it has the shapes and dtypes that a run will see."""
    g, s, c = groups, settings.scenes, canvas_size
    return Batch(
        canvas=np.zeros((g, s, c, c, 3), np.uint8),
        extent=np.zeros((g, s, 2), np.int32),
        photo_size=np.zeros((g, s, 2), np.int32),
        seed=np.zeros((g, s), np.uint32),
        truncated=np.zeros(g, np.int32),
        levels={level: _empty_slots(level, g, c, settings) for level in LEVELS},
    )


def _empty_slots(level: str, groups: int, canvas_size: int, settings: DataSettings) -> Slots:
    g, c, p = groups, canvas_size, settings.image_size
    v, length, text_rows, patch_rows, further = settings.level(level)
    texts = v + further
    tokens = (g, text_rows, settings.text_row_tokens) if text_rows else (g, texts, length)
    slots = Slots(
        scene=np.zeros((g, v), np.int32),
        mask=np.zeros((g, v), bool),
        tokens=np.zeros(tokens, np.int32),
        text=np.zeros((g, v), np.int32),
        count=np.zeros(g, np.int32),
        hidden=np.zeros(g, np.int32),
        longest=np.zeros(g, np.int32),
        text_rows=empty_rows(*tokens, texts) if text_rows else None,
        patch_rows=empty_rows(g, patch_rows, settings.patch_row_tokens, v) if patch_rows else None,
        further=_empty_further(g, further) if further else None,
    )
    if level == "global":
        slots.scene[:] = np.arange(v)  # a scene belongs to itself
    if level == "object":
        return slots._replace(box=np.zeros((g, v, 4), np.float32))
    if level == "relation":
        slots = slots._replace(region=np.zeros((g, v, p, p // 8), np.uint8))
        if settings.pooled_regions:
            slots = slots._replace(ends=np.zeros((g, v, 2, 4), np.float32))
        slots = slots._replace(pair=np.zeros((g, v), np.int32))
        if settings.focus_images:
            focus = np.zeros((g, v, c, c, 3), np.uint8)
            slots = slots._replace(focus=focus, has_focus=np.zeros((g, v), bool))
        if settings.region_style == "published":
            slots = slots._replace(centers=np.zeros((g, v, 4), np.float32))
    return slots


def _empty_further(groups: int, slots: int) -> Further:
    shape = groups, slots
    return Further(
        slot=np.zeros(shape, np.int32),
        mask=np.zeros(shape, bool),
        kind=np.zeros(shape, np.int32),
        text=np.zeros(shape, np.int32),
        count=np.zeros(groups, np.int32),
    )


def _empty_labels(shape: tuple[int, int]) -> Labels:
    labels = Labels(*(np.full(shape, "", object) for _ in Labels._fields))
    for where in np.ndindex(shape):
        labels.negatives[where] = []
    return labels
