"""A CLIP model from elsewhere, as all readers of such models return it."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from scenarioclip_jax.data.normalization import CLIP_MEAN, CLIP_STD
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.interop import clip_towers
from scenarioclip_jax.interop.weights import Weights, check_names
from scenarioclip_jax.models.towers import TextConfig, VisionConfig

TOWERS = ("vision", "text")
PATCH = "vision.embeddings.patch_embedding.weight"
CLASS = "vision.embeddings.class_embedding"
POSITION = "vision.embeddings.position_embedding.weight"


@dataclasses.dataclass(frozen=True)
class ClipModel:
    """A CLIP or SigLIP model whose weights haven't been read yet.

    Attributes:
      name: The user's name for it.
      vision: Fields of `VisionConfig` except `stem_blocks`.
      text: Fields of `TextConfig` except `stem_blocks`.
      projection_dim: Size of CLIP's own embedding space.
      fit: How its images are made square, see `data.settings.FITS`.
      weights: `vision.NAME` and `text.NAME` with the names of `clip_towers`, float32, for images that are
        normalized as here; and, for a whole model, `visual_projection.weight`, `text_projection.weight`,
        `logit_scale`, and of SigLIP `text_projection.bias` and `logit_bias`.
      tokenizer: Tokenizer of the model; None if the folder has none.
    """

    name: str
    vision: dict[str, Any]
    text: dict[str, Any]
    projection_dim: int
    weights: Weights
    tokenizer: Tokenizer | None
    fit: str = "centre_crop"


@dataclasses.dataclass(frozen=True)
class ImageSettings:
    """How a model prepares its images.

    Attributes:
      fit: How they are made square, see `data.settings.FITS`.
      mean, std: What is subtracted from channels between 0 and 1, and what they are divided by then.
    """

    fit: str = "centre_crop"
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD


def tower_configs(
    vision: dict, text: dict, stem_blocks: tuple[int, int]
) -> tuple[VisionConfig, TextConfig]:
    """Returns `VisionConfig` and `TextConfig` with the given numbers of blocks in their stems."""
    return (
        VisionConfig(**vision, stem_blocks=stem_blocks[0]),
        TextConfig(**text, stem_blocks=stem_blocks[1]),
    )


def assemble(
    name: str,
    folder: Path,
    sizes: dict[str, dict[str, Any]],
    projection_dim: int,
    weights: Weights,
    tokenizer: Tokenizer | None,
    images: ImageSettings,
    *,
    remedy: str,
) -> ClipModel:
    """Puts together what was read of a folder.

    Args:
      name: The user's name for the model.
      folder: The folder, for messages.
      sizes: Fields of the towers by `vision` and `text`, as in `ClipModel`.
      weights: Of any type, for images as the model itself normalizes them.
      images: How it does.
      remedy: What the message says to do about weights that aren't of these sizes.

    Raises:
      CheckpointError: Weights are missing, unexpected or of another shape. The message lists them.
    """
    _check_weights(weights, sizes, projection_dim, str(folder), remedy)
    weights = for_our_normalization(weights.astype(np.float32), images)
    vision, text = sizes["vision"], sizes["text"]
    return ClipModel(name, vision, text, projection_dim, weights, tokenizer, images.fit)


def _check_weights(
    weights: Weights, sizes: dict[str, dict], projection_dim: int, where: str, remedy: str
) -> None:
    vision, text = tower_configs(sizes["vision"], sizes["text"], (0, 0))
    expected = {
        f"{tower}.{name}": shape
        for tower, config in (("vision", vision), ("text", text))
        for name, shape in clip_towers.expected_shapes(config).items()
    }
    optional = {
        "visual_projection.weight": (projection_dim, vision.width),
        "text_projection.weight": (projection_dim, text.width),
        "text_projection.bias": (projection_dim,),
        "logit_scale": (),
        "logit_bias": (),
    }
    expected |= {name: shape for name, shape in optional.items() if name in weights}
    check_names(weights.shapes, expected, where=where, remedy=remedy)


def for_our_normalization(weights: Weights, settings: ImageSettings) -> Weights:
    """Weights that give for images as normalized here what the given ones give for images of `settings`.

    With means m, m' and deviations s, s' of here and there, an image x of here is (s x + m - m') / s' there.
    The first layer is linear in each patch: its kernel takes s / s', and what the difference of the means adds
    to every patch is added to the patches' positions.
    """
    if settings.mean == CLIP_MEAN and settings.std == CLIP_STD:
        return weights
    mean, std = np.float64(settings.mean), np.float64(settings.std)
    factor, shift = np.float64(CLIP_STD) / std, (np.float64(CLIP_MEAN) - mean) / std

    def read(name: str) -> np.ndarray:
        value = weights[name]
        if name == PATCH:  # [width, 3, patch, patch]
            return (value * factor[:, None, None]).astype(np.float32)
        if name == POSITION:  # [tokens, width]; a class token, the first, sees no pixel
            added = np.einsum("wcyx,c->w", weights[PATCH].astype(np.float64), shift)
            first = int(CLASS in weights)
            return np.concatenate([value[:first], value[first:] + added]).astype(np.float32)
        return value

    return Weights(weights.shapes, read)
