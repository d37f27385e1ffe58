"""Reads a SigLIP or SigLIP 2 model in Hugging Face's format without PyTorch: sizes, weights, tokenizer.

SigLIP 2 of fixed sizes has SigLIP's towers, and `model_type` siglip. Its variant for any aspect (`siglip2`)
cuts photos into other patches and can't be read.
"""

from pathlib import Path
from typing import Any

import numpy as np

from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.interop.clip_model import ClipModel, assemble
from scenarioclip_jax.interop.huggingface import WRAPPERS, build_config, tower_sizes
from scenarioclip_jax.interop.image_settings import read_image_settings
from scenarioclip_jax.interop.weights import Weights, open_folder, read_json

MODEL_TYPE = "siglip"
BIAS = "vision.embeddings.patch_embedding.bias"
POSITION = "vision.embeddings.position_embedding.weight"
# Theirs -> ours, for what isn't in a tower.
HEADS = {"text.head.weight": "text_projection.weight", "text.head.bias": "text_projection.bias"}
SCALARS = ("logit_scale", "logit_bias")


def open_model(folder: Path, name: str) -> ClipModel:
    """Opens a folder.

    Args:
      name: The user's name for it.

    Raises:
      CheckpointError: A file is missing, damaged, or of a model whose towers can't be built here.
    """
    tokenizer = _tokenizer(folder)
    sizes = _read_config(folder / "config.json", tokenizer)
    dim = sizes["vision"]["width"]
    # In float32 before anything is added to them.
    weights = _weights(open_folder(folder).astype(np.float32), dim, folder)
    remedy = (
        "Weights and config.json must belong to the same SigLIP model. (vision. and text. stand for "
        "vision_model. and text_model. in the file.)"
    )
    images = read_image_settings(folder, sizes["vision"]["image_size"])
    return assemble(name, folder, sizes, dim, weights, tokenizer, images, remedy=remedy)


def _read_config(path: Path, tokenizer: Tokenizer | None) -> dict[str, dict[str, Any]]:
    from transformers import SiglipConfig  # imported late because it takes seconds

    config = build_config(SiglipConfig, read_json(path), path)
    vision, text = config.vision_config, config.text_config
    if not getattr(vision, "vision_use_head", True):
        raise CheckpointError(
            f"{path}: vision_use_head of vision_config is false, so the vision tower has no embedding of a "
            "whole image; give a SigLIP model whose head was kept"
        )
    sizes = {
        "vision": tower_sizes(vision, "vision", path, pooling="attention"),
        "text": tower_sizes(text, "text", path, pooling="last"),
    }
    projected = getattr(text, "projection_size", None) or text.hidden_size
    if projected != vision.hidden_size:
        raise CheckpointError(
            f"{path}: projection_size of text_config is {projected}, and hidden_size of vision_config "
            f"{vision.hidden_size}; they must be equal, since they are compared"
        )
    if tokenizer:
        if tokenizer.vocab_size > text.vocab_size:
            raise CheckpointError(
                f"{path}: vocab_size is {text.vocab_size}, but the tokenizer beside it has "
                f"{tokenizer.vocab_size} tokens; they don't belong together"
            )
        sizes["text"]["eos_id"] = tokenizer.eos_id
    return sizes


def _tokenizer(folder: Path) -> Tokenizer | None:
    files = ("tokenizer.json", "spiece.model")
    if not any((folder / name).is_file() for name in files):
        return None
    if not (folder / "tokenizer_config.json").is_file():
        raise CheckpointError(
            f"{folder}: no tokenizer_config.json beside the tokenizer, so it isn't known how it changes texts; "
            "copy it from the model's repository"
        )
    try:
        return Tokenizer.load(folder)
    except (FileNotFoundError, ValueError) as error:
        raise CheckpointError(f"{folder}: its tokenizer can't be used: {error}") from None


def _weights(found: Weights, dim: int, folder: Path) -> Weights:
    """The arrays in the names of `ClipModel`; the patches' bias becomes part of their positions."""

    def rename(name: str) -> str | None:
        name = name[match.end() :] if (match := WRAPPERS.match(name)) else name
        if name.endswith("position_ids"):
            return None
        for tower in ("vision", "text"):
            name = name.replace(f"{tower}_model.", f"{tower}.", 1)
        return HEADS.get(name, name)

    named = found.renamed(rename)
    if BIAS not in named:
        raise CheckpointError(
            f"{folder}: no vision_model.embeddings.patch_embedding.bias in it, which SigLIP's patches have; "
            "copy the model again"
        )
    shapes = {name: shape for name, shape in named.shapes.items() if name != BIAS}
    shapes |= {name: () for name in SCALARS if named.shapes.get(name) == (1,)}
    shapes["visual_projection.weight"] = (dim, dim)  # images are compared as they are pooled

    def read(name: str) -> np.ndarray:
        if name == "visual_projection.weight":
            return np.eye(dim, dtype=np.float32)
        value = named[name]
        if name in SCALARS:
            return value.reshape(())
        return value + named[BIAS] if name == POSITION else value

    return Weights(shapes, read)
