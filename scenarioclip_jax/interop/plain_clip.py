"""Opens a CLIP or SigLIP model from elsewhere, whichever library it was saved by."""

from pathlib import Path

from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.interop import huggingface, known_files, openclip, siglip
from scenarioclip_jax.interop.clip_model import TOWERS, ClipModel
from scenarioclip_jax.interop.hub import find_folder
from scenarioclip_jax.interop.weights import read_json

WANTED = (
    "give a folder that a Hugging Face CLIP model was saved to, one in open_clip's format, or a hub id like "
    "openai/clip-vit-base-patch32"
)


def open_plain_clip(source: str) -> ClipModel:
    """Opens a folder, or a model on the hub: in Hugging Face's format or open_clip's.

    A folder in Hugging Face's format has a CLIP or SigLIP model, or one tower each in `vision` and `text`; one
    in open_clip's format has open_clip_config.json beside the weights. A folder with both is read as the first,
    unless its config.json isn't one of Transformers'.

    Raises:
      CheckpointError: There is nothing usable. The message names file and field, and what to do.
    """
    folder = find_folder(source)
    if known_files.is_open_clip(folder):
        return openclip.open_model(folder, source)
    config = folder / "config.json"
    if config.is_file() and read_json(config).get("model_type") == siglip.MODEL_TYPE:
        return siglip.open_model(folder, source)
    if _in_huggingface_format(folder):
        return huggingface.open_model(folder, source)
    raise CheckpointError(
        f"{folder}: no config.json in it, nor vision/config.json with text/config.json, nor "
        f"{openclip.CONFIG}; {openclip.advice(folder) or WANTED}"
    )


def is_plain_clip(folder: Path) -> bool:
    """Whether a folder has the configs of a model that `open_plain_clip` may read."""
    return _in_huggingface_format(folder) or (folder / openclip.CONFIG).is_file()


def _in_huggingface_format(folder: Path) -> bool:
    towers = [folder / tower / "config.json" for tower in TOWERS]
    return (folder / "config.json").is_file() or all(path.is_file() for path in towers)
