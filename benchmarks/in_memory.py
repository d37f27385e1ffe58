"""Drawn scenes as our batch and as the peer's, without files and without JAX: what a train step is given."""

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from benchmarks import scenes
from benchmarks.peer.training import PeerBatch
from scenarioclip_jax.data.batch import Batch
from scenarioclip_jax.data.pipeline import TrainingBatches
from scenarioclip_jax.data.settings import DataSettings
from scenarioclip_jax.data.stored.scene import Relation, Scene

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def as_scene(drawn: scenes.DrawnScene, photo: bytes = b"") -> Scene:
    """The scene as shards would hold it; focused regions are unions of boxes.

    Args:
      photo: a JPEG; default: the scene's own.
    """
    boxes = drawn.boxes.astype(np.float32)
    return Scene(
        id=drawn.id,
        photo=photo or _jpeg(drawn),
        width=scenes.WIDTH,
        height=scenes.HEIGHT,
        action=drawn.action,
        captions=(),
        object_names=drawn.names,
        object_boxes=boxes,
        relations=[
            Relation(drawn.triplet(index), boxes[[subject, object_]], b"", b"", [])
            for index, (subject, _, object_) in enumerate(drawn.relations)
        ],
    )


def _jpeg(drawn: scenes.DrawnScene) -> bytes:
    stream = io.BytesIO()
    scenes.picture(drawn).save(stream, "JPEG", quality=scenes.QUALITY)
    return stream.getvalue()


def our_batch(drawn: Sequence[scenes.DrawnScene], settings: DataSettings) -> Batch:
    """The first global batch."""
    return batch_of([as_scene(scene) for scene in drawn], settings)


def batch_of(source: Sequence[Scene], settings: DataSettings) -> Batch:
    """The first global batch of scenes as shards would hold them."""
    batch, corrupt = TrainingBatches(
        source, scenes.word_tokenizer(), settings, range(settings.packing_groups)
    )(0)
    assert not corrupt, corrupt
    return batch


def peer_batch(batch: Batch, eos_id: int) -> PeerBatch:
    """What `batch` holds without its empty slots: pictures in the peer's form, texts as long as the longest."""
    size = batch.levels["relation"].region.shape[2]
    group, slot = np.nonzero(batch.scenes.mask)
    number = np.full(batch.scenes.mask.shape, -1)
    number[group, slot] = np.arange(len(group))
    views = np.stack(
        [
            _normalize(np.asarray(Image.fromarray(c[:height, :width]).resize((size, size))))
            for c, (width, height) in zip(
                batch.canvas[group, slot], batch.extent[group, slot], strict=True
            )
        ]
    )
    images, owners = {"global": views}, {}
    black = _normalize(np.zeros(3))
    for level in ("object", "relation"):
        slots = batch.levels[level]
        group, slot = np.nonzero(slots.mask)
        owners[level] = number[group, slots.scene[group, slot]]
        if level == "object":
            shown = np.stack([_inside(box, size) for box in slots.box[group, slot]])
        else:
            shown = np.unpackbits(slots.region[group, slot], axis=-1).astype(bool)
        images[level] = np.where(shown[..., None], views[owners[level]], black)
    ids = {level: slots.tokens[slots.mask] for level, slots in batch.levels.items()}
    longest = {level: int((rows == eos_id).argmax(1).max()) + 1 for level, rows in ids.items()}
    return PeerBatch(
        {v: torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).float() for v, x in images.items()},
        {v: torch.from_numpy(rows[:, : longest[v]]).long() for v, rows in ids.items()},
        {v: torch.from_numpy(owner).long() for v, owner in owners.items()},
    )


def _normalize(pixels: np.ndarray) -> np.ndarray:
    return ((pixels / np.float32(255) - MEAN) / STD).astype(np.float32)


def _inside(box: np.ndarray, size: int) -> np.ndarray:
    """bool [size, size]: pixels inside a box x0, y0, x1, y1."""
    y, x = np.mgrid[:size, :size] + 0.5
    return (x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])
