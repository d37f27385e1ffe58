"""`DataSettings`: everything that decides which batches come out of the input pipeline."""

import dataclasses
import math

FITS = ("centre_crop", "contain", "squash")


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Settings of the input pipeline. Axis letters are those of `data.batch`.

    Raises:
      ValueError: a value is out of range; the message names the field and what is allowed.
    """

    batch_size: int = 128  # scenes in the global batch, over all processes
    groups: int = 1  # G; must divide batch_size
    objects_per_scene: float = 6.0  # average budget: O = ceil(objects_per_scene * S)
    relations_per_scene: float = 4.0  # average budget: R = ceil(relations_per_scene * S)
    image_size: int = 224  # P, pixels; a multiple of 8, as regions are stored as bits
    canvas_size: int = 240  # C of the training canvas, pixels; evaluation uses P
    # As published. "contain" shows the whole photo with black bars, "squash" all of it, stretched to a square.
    fit: str = "centre_crop"
    scene_length: int = 77  # L of actions, bos and eos included
    object_length: int = 77  # L of object names
    relation_length: int = 77  # L of triplets
    text_row: int = (
        0  # T, tokens in a row of packed texts; 0: one text a row, padded to its level's L
    )
    scene_tokens: float = 10.0  # average budget of different texts: N = ceil(scene_tokens * S / T)
    object_tokens: float = 20.0
    relation_tokens: float = 32.0
    patch_size: int = 0  # pixels; only patches that show something are packed; 0: views stay whole
    patch_row: int = 2  # whole views that a row of packed patches is as long as; must divide S
    object_patches: float = (
        60.0  # average budget, class tokens included: N = ceil(object_patches * S / T)
    )
    relation_patches: float = 80.0
    min_visible: float = 16.0  # square view pixels; training leaves out what shows less than this
    focus_images: bool = False  # the data set has focused regions stored as pictures
    balance: bool = False  # put scenes together so that all groups need about the same room
    shuffle_texts: bool = False  # control run: every text comes from an unrelated scene
    seed: int = 0  # of the order of scenes and of each scene's own seed; 0 <= seed < 2**32
    num_workers: int = 0  # reading processes; 0: threads of this process
    num_threads: int = 2  # reading threads in this process or in each worker
    prefetch: int = 2  # batches kept ready by this process or by each worker
    stall_seconds: float = 600.0  # longest wait for a batch before the run stops; 0: for ever
    max_corrupt_share: float = 0.01  # of the data set's records; more than this stops the run

    def __post_init__(self):
        for name in ("batch_size", "groups", "canvas_size", "num_threads", "prefetch"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("scene_length", "object_length", "relation_length"):
            _require(
                getattr(self, name) >= 3, name, getattr(self, name), "at least 3 (bos, x, eos)"
            )
        budgets = ("objects_per_scene", "relations_per_scene", "scene_tokens", "object_tokens")
        for name in (*budgets, "relation_tokens", "object_patches", "relation_patches"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "more than 0")
        for name in ("min_visible", "num_workers", "stall_seconds", "text_row", "patch_size"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        size = self.image_size
        _require(size >= 8 and size % 8 == 0, "image_size", size, "a positive multiple of 8")
        _require(self.fit in FITS, "fit", self.fit, f"one of {', '.join(FITS)}")
        _require(0 <= self.seed < 2**32, "seed", self.seed, "between 0 and 2**32 - 1")
        share = self.max_corrupt_share
        _require(0 <= share <= 1, "max_corrupt_share", share, "between 0 and 1")
        if self.batch_size % self.groups:
            raise ValueError(
                f"data.groups={self.groups} does not divide data.batch_size={self.batch_size}: "
                "every group holds the same number of scenes"
            )
        self._check_rows()

    def _check_rows(self) -> None:
        longest = max(self.scene_length, self.object_length, self.relation_length)
        if self.text_row:
            allowed = f"0, or at least {longest}, the longest text (data.*_length)"
            _require(self.text_row >= longest, "text_row", self.text_row, allowed)
        if self.patch_size:
            allowed = f"a divisor of {self.scenes}, the scenes of a group (batch_size / groups)"
            row = self.patch_row
            _require(row > 0 and self.scenes % row == 0, "patch_row", row, allowed)

    @property
    def scenes(self) -> int:
        """S, the scene slots in a group."""
        return self.batch_size // self.groups

    @property
    def objects(self) -> int:
        """O, the object slots in a group."""
        return _at_least(self.objects_per_scene * self.scenes)

    @property
    def relations(self) -> int:
        """R, the relation slots in a group."""
        return _at_least(self.relations_per_scene * self.scenes)

    @property
    def patch_tokens(self) -> int:
        """T of packed patches."""
        return self.patch_row * (1 + (self.image_size // self.patch_size) ** 2)

    def text_rows(self, level: str) -> int:
        """N of a level's packed texts."""
        budget = {"global": self.scene_tokens, "object": self.object_tokens}
        budget["relation"] = self.relation_tokens
        return _at_least(budget[level] * self.scenes / self.text_row)

    def patch_rows(self, level: str) -> int:
        """N of a level's packed views. Whole scenes fill their rows to the last token."""
        if level == "global":
            return self.scenes // self.patch_row
        budget = {"object": self.object_patches, "relation": self.relation_patches}[level]
        return _at_least(budget * self.scenes / self.patch_tokens)


def _at_least(number: float) -> int:
    """Rounded up, but not for the sake of a rounding error."""
    return max(1, math.ceil(number - 1e-6))


def _require(holds: bool, name: str, value, allowed: str) -> None:
    if not holds:
        raise ValueError(f"data.{name}={value!r}: must be {allowed}")
