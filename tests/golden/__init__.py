"""Figures of the published implementation on a tiny configuration (float32, CPU), and how to load them."""

import functools
import json
from pathlib import Path

import numpy as np

from scenarioclip_jax.data.packing.rows import empty_rows, write
from scenarioclip_jax.interop import reference
from scenarioclip_jax.models.rows import merge_groups, take_patches
from scenarioclip_jax.models.scenario_clip import INITIAL_LOGIT_SCALE, LEVELS, Inputs
from scenarioclip_jax.models.towers import TextConfig, VisionConfig

FOLDER = Path(__file__).parent
META = json.loads((FOLDER / "meta.json").read_text())

VISION = VisionConfig(
    width=32, depth=3, heads=4, mlp_dim=64, image_size=32, patch_size=8, stem_blocks=2
)
TEXT = TextConfig(
    width=24, depth=3, heads=4, mlp_dim=48, vocab_size=120, max_length=20, eos_id=119, stem_blocks=2
)
# The three levels' names in the reference's input file.
INPUT_NAMES = {"global": ("images", "caption_ids"), "object": ("object_images", "object_ids")}
INPUT_NAMES["relation"] = ("relation_images", "relation_ids")


@functools.cache
def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def params(arch: str, *, teacher: bool = False) -> dict[str, np.ndarray]:
    """Initial (or the teacher's) parameters in our names. `scenario_clip_0` starts as `scenario_clip_1`."""
    stem = "pyramid_clip" if arch == "pyramid_clip" else "scenario_clip_1"
    theirs = dict(arrays(f"{stem}{'_teacher' if teacher else ''}_params"))
    # The files hold the modules' parameters; the losses' own start at their initial values.
    theirs |= {f"{level}_loss.logit_scale": np.float32(INITIAL_LOGIT_SCALE) for level in LEVELS}
    return reference.to_ours(theirs, arch, VISION, TEXT)


def inputs() -> Inputs:
    data = arrays("inputs")
    images = {level: data[INPUT_NAMES[level][0]].transpose(0, 2, 3, 1) for level in LEVELS}
    ids = {level: data[INPUT_NAMES[level][1]].astype(np.int32) for level in LEVELS}
    return Inputs(images, ids)


def packed_inputs(row: int = 40) -> Inputs:
    """The same inputs as sequences of patches and of tokens, several in a row of `row`."""
    whole = inputs()
    images, ids, image_rows, text_rows = {}, {}, {}, {}
    for level in LEVELS:
        pictures, texts = whole.images[level], whole.ids[level]
        count = len(pictures)
        seen = [np.arange(1 + VISION.grid**2)] * count
        rows = empty_rows(1, len(seen), row, count)
        rows.read[0] = write(rows, 0, seen)
        images[level] = take_patches(pictures[None], rows, VISION.patch_size)
        image_rows[level] = merge_groups(rows)

        ends = (texts == TEXT.eos_id).argmax(1)
        seen = [np.arange(end + 1) for end in ends]
        rows = empty_rows(1, len(seen), row, count)
        starts = write(rows, 0, seen)
        rows.read[0] = starts + ends
        packed = np.zeros(rows.position.shape[1:], np.int32)
        for text, start, end in zip(texts, starts, ends, strict=True):
            packed.reshape(-1)[start : start + end + 1] = text[: end + 1]
        ids[level], text_rows[level] = packed, merge_groups(rows)
    return Inputs(images, ids, image_rows, text_rows)


def owners(level: str) -> np.ndarray:
    """The scene that each object or relation belongs to."""
    count = arrays("inputs")[f"{level}s_per_image"]
    return np.repeat(np.arange(len(count)), count).astype(np.int32)
