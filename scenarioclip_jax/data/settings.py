"""`DataSettings`: everything that decides which batches come out of the input pipeline."""

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple

from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.data.region_styles import STYLES

FITS = ("centre_crop", "contain", "squash")
GLOBAL_TEXTS = ("action", "caption", "mixed")
# The name of each level in a config. `global` is a Python keyword, which can't be part of a flag's name.
CONFIG_KEYS = {"global": "scene", "object": "object", "relation": "relation"}


def as_level(name: str) -> str:
    """The level that a config names: `scene` is `global`; any other name is returned as it is."""
    return next((level for level, key in CONFIG_KEYS.items() if key == name), name)


@dataclasses.dataclass(frozen=True)
class LevelSettings:
    """The room of a level in a batch, on average over the scenes of a group.

    Attributes:
      text_length: Length L of a text in tokens, including bos and eos; longer texts are cut.
      slots_per_scene: Slots for objects or relations; those without a slot are left out of the batch. Always 1
        at the level `global`.
      tokens_per_scene: Tokens of distinct texts, if texts are packed (`DataSettings.text_row_tokens`).
      patches_per_scene: Patches that show something, including class tokens, if views are packed
        (`DataSettings.patch_size`). Not used at the level `global`, whose views are whole.
      further_per_scene: Slots for further texts: negatives and paraphrases of relations, captions of scenes;
        see `data.packing.further`. 0 if none are read.
    """

    text_length: int = 77
    slots_per_scene: float = 1.0
    tokens_per_scene: float = 10.0
    patches_per_scene: float = 60.0
    further_per_scene: float = 0.0


class Shape(NamedTuple):
    """The fixed shape of a level in each group of a batch; axis letters are those of `data.batch`."""

    slots: int  # V
    text_length: int  # L
    text_rows: int  # N of packed texts; 0 if they aren't packed
    patch_rows: int  # N of packed views; 0 if they aren't packed
    further: int  # F


# Only CLIP's 77 tokens are published. Budgets are those of a typical annotated photo.
DEFAULT_LEVELS: Mapping[str, LevelSettings] = {
    "global": LevelSettings(),
    "object": LevelSettings(slots_per_scene=6.0, tokens_per_scene=20.0, patches_per_scene=60.0),
    "relation": LevelSettings(slots_per_scene=4.0, tokens_per_scene=32.0, patches_per_scene=80.0),
}


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Settings of the input pipeline. Axis letters are those of `data.batch`.

    Raises:
      ValueError: A value is out of range. The message names the field and what is allowed.
    """

    batch_size: int = 128  # scenes in the global batch, over all processes
    packing_groups: int = 1  # G; must divide batch_size
    # Settings by level; mappings of the fields of `LevelSettings` are accepted too.
    levels: Mapping[str, LevelSettings] = dataclasses.field(default_factory=lambda: DEFAULT_LEVELS)
    image_size: int = 224  # P, pixels; a multiple of 8, because regions are stored as bits
    canvas_size: int = 240  # C of the training canvas, pixels; evaluation uses P
    # As published. "contain" shows the whole photo with black bars, "squash" stretches it to a square.
    fit: str = "centre_crop"
    text_row_tokens: int = (
        0  # T of rows of packed texts; 0: one text per row, padded to its level's L
    )
    patch_size: int = 0  # pixels; only patches that show something are packed; 0: views stay whole
    patch_row_views: int = 2  # length of a row of packed patches in whole views; must divide S
    min_visible_pixels: float = 16.0  # view pixels; training leaves out what shows fewer
    region_style: str = "stored"  # how focused regions are shown, see `data.region_styles`
    pooled_regions: bool = False  # relations bring their ends' boxes, for models that pool regions
    # The data set has focused regions stored as images; always False in other styles than `stored`.
    focus_images: bool = False
    balance: bool = False  # deal scenes so that all groups need about the same room
    global_text: str = "action"  # what the level `global` reads; see `data.global_text`
    caption_share: float = 0.5  # of the scenes that have both, with "mixed"
    # Negatives and paraphrases of a relation: where annotations have fewer, more are made (`words.negatives`).
    make_negatives: int = 0
    make_paraphrases: int = 0
    caption_sentences: bool = False  # captions as further texts: one sentence instead of the whole
    shuffle_texts: bool = False  # control run: every text comes from an unrelated scene
    seed: int = 0  # for the order of scenes and each scene's own seed; 0 <= seed < 2**32
    num_workers: int = 0  # reading processes; 0: threads of this process
    num_threads: int = 2  # reading threads in this process or in each worker
    prefetch: int = 2  # batches kept ready by this process or by each worker
    stall_seconds: float = 600.0  # longest wait for a batch before the run stops; 0: forever
    max_corrupt_share: float = 0.01  # share of the records; more than this stops the run

    def __post_init__(self):
        object.__setattr__(self, "levels", _as_levels(self.levels))
        for name in ("batch_size", "packing_groups", "canvas_size", "num_threads", "prefetch"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in (
            *("min_visible_pixels", "num_workers", "stall_seconds"),
            *("text_row_tokens", "patch_size", "make_negatives", "make_paraphrases"),
        ):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        size = self.image_size
        _require(size >= 8 and size % 8 == 0, "image_size", size, "a positive multiple of 8")
        _require(self.fit in FITS, "fit", self.fit, f"one of {', '.join(FITS)}")
        style = self.region_style
        _require(style in STYLES, "region_style", style, f"one of {', '.join(STYLES)}")
        if style != "stored":
            object.__setattr__(self, "focus_images", False)
        text, share = self.global_text, self.caption_share
        _require(text in GLOBAL_TEXTS, "global_text", text, f"one of {', '.join(GLOBAL_TEXTS)}")
        _require(0 <= share <= 1, "caption_share", share, "between 0 and 1")
        if self.shuffle_texts and (self.make_negatives or self.make_paraphrases):
            raise ValueError(
                "data.shuffle_texts=True with data.make_negatives or data.make_paraphrases: what is made from "
                "a photo's boxes would tell its pictures apart in a run that must learn nothing; set both to 0"
            )
        _require(0 <= self.seed < 2**32, "seed", self.seed, "between 0 and 2**32 - 1")
        share = self.max_corrupt_share
        _require(0 <= share <= 1, "max_corrupt_share", share, "between 0 and 1")
        if self.batch_size % self.packing_groups:
            raise ValueError(
                f"data.packing_groups={self.packing_groups} does not divide "
                f"data.batch_size={self.batch_size}: every group holds the same number of scenes"
            )
        self._check_rows()

    def _check_rows(self) -> None:
        longest = self.longest_text
        if self.text_row_tokens:
            allowed = f"0, or at least {longest}, the longest text (data.levels.*.text_length)"
            _require(
                self.text_row_tokens >= longest, "text_row_tokens", self.text_row_tokens, allowed
            )
        if self.patch_size:
            allowed = (
                f"a divisor of {self.scenes}, the scenes of a group (batch_size / packing_groups)"
            )
            row = self.patch_row_views
            _require(row > 0 and self.scenes % row == 0, "patch_row_views", row, allowed)

    @property
    def scenes(self) -> int:
        """S, the scene slots in a group."""
        return self.batch_size // self.packing_groups

    @property
    def longest_text(self) -> int:
        """The largest L of all levels."""
        return max(level.text_length for level in self.levels.values())

    @property
    def patch_row_tokens(self) -> int:
        """T of rows of packed patches."""
        return self.patch_row_views * (1 + (self.image_size // self.patch_size) ** 2)

    def level(self, name: str) -> Shape:
        """The shape of a level in each group."""
        level, scenes = self.levels[name], self.scenes
        text_rows = patch_rows = 0
        if self.text_row_tokens:
            text_rows = _at_least(level.tokens_per_scene * scenes / self.text_row_tokens)
        if self.patch_size and name == "global":
            patch_rows = scenes // self.patch_row_views  # whole views fill rows to the last token
        elif self.patch_size:
            patch_rows = _at_least(level.patches_per_scene * scenes / self.patch_row_tokens)
        slots = _at_least(level.slots_per_scene * scenes)
        further = level.further_per_scene * scenes
        further = _at_least(further) if further else 0
        return Shape(slots, level.text_length, text_rows, patch_rows, further)

    def with_level(self, name: str, **changes) -> "DataSettings":
        """Returns the same settings with changes to one level."""
        level = dataclasses.replace(self.levels[name], **changes)
        return dataclasses.replace(self, levels={**self.levels, name: level})


def _as_levels(given: Mapping) -> dict[str, LevelSettings]:
    """Checks the settings of the levels; returns them in the order of `LEVELS`."""
    if set(given) != set(LEVELS):
        raise ValueError(f"data.levels has {', '.join(given)}: must have {', '.join(LEVELS)}")
    levels = {}
    for name in LEVELS:
        level = given[name]
        if not isinstance(level, LevelSettings):
            level = LevelSettings(**{**dataclasses.asdict(DEFAULT_LEVELS[name]), **level})
        length, key = level.text_length, f"levels.{CONFIG_KEYS[name]}"
        _require(length >= 3, f"{key}.text_length", length, "at least 3 (bos, x, eos)")
        for budget in ("slots_per_scene", "tokens_per_scene", "patches_per_scene"):
            value = getattr(level, budget)
            _require(value > 0, f"{key}.{budget}", value, "more than 0")
        further = level.further_per_scene
        _require(further >= 0, f"{key}.further_per_scene", further, "0 or more")
        levels[name] = level
    further = levels["object"].further_per_scene
    _require(further == 0, "levels.object.further_per_scene", further, "0: names have no others")
    one = levels["global"].slots_per_scene
    _require(one == 1, "levels.scene.slots_per_scene", one, "1: each scene has one slot")
    return levels


def _at_least(number: float) -> int:
    """Rounds up, but ignores rounding errors."""
    return max(1, math.ceil(number - 1e-6))


def _require(holds: bool, name: str, value, allowed: str) -> None:
    if not holds:
        raise ValueError(f"data.{name}={value!r}: must be {allowed}")
