"""How a CLIP model in Hugging Face's format prepares its images: preprocessor_config.json."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.console import say
from scenarioclip_jax.data.normalization import CLIP_MEAN, CLIP_STD
from scenarioclip_jax.interop.clip_model import ImageSettings
from scenarioclip_jax.interop.weights import read_json

BILINEAR, BICUBIC = 2, 3  # Pillow's numbers for them
# Steps that Transformers' CLIP processors do by default; other processors have other defaults.
STEPS = ("do_resize", "do_rescale", "do_normalize")
HARMLESS = ("do_center_crop", "do_convert_rgb", "do_reduce_labels")


def read_image_settings(folder: Path, image_size: int) -> ImageSettings:
    """Reads how a model prepares its images; CLIP's way if no file says.

    Raises:
      CheckpointError: It is a way that images can't be prepared in here. The message names file and field.
    """
    found = _settings(folder)
    if found is None:
        return ImageSettings()
    path, settings = found
    if settings.get("resample") == BILINEAR:
        note_on_resizing(path, "resample")
        settings = settings | {"resample": BICUBIC}
    expected = {
        "resample": BICUBIC,
        "rescale_factor": 1 / 255,
        **dict.fromkeys(STEPS, True),
    }
    others = _is_anothers(settings)
    for name, usual in {"image_mean": CLIP_MEAN, "image_std": CLIP_STD, **expected}.items():
        value = settings.get(name)
        if value is None and others and name not in ("rescale_factor", *STEPS):
            raise CheckpointError(
                f"{path}: it has no {name}, and the default of {settings['image_processor_type']} isn't "
                f"CLIP's; write the value that the model was trained with, {json.dumps(usual)} if it is a "
                "CLIP model like others"
            )
        if name in expected and value is not None and not _close(value, usual):
            _refuse(path, name, value, usual)
    for name, value in settings.items():
        if (
            name.startswith("do_")
            and name not in (*STEPS, *HARMLESS)
            and value not in (None, False)
        ):
            _refuse(path, name, value, False)
    return ImageSettings(
        _fit(path, settings, image_size),
        check_channels(path, "image_mean", settings.get("image_mean"), CLIP_MEAN),
        check_channels(path, "image_std", settings.get("image_std"), CLIP_STD),
    )


def check_channels(
    path: Path, name: str, value: Any, usual: tuple[float, ...]
) -> tuple[float, ...]:
    """Returns the mean or the standard deviation of three channels; `usual` if the file says none, or the same.

    Raises:
      CheckpointError: They aren't three numbers, or a deviation isn't positive.
    """
    if value is None or _close(value, usual):
        return usual
    least = 0 if name.endswith("std") else -math.inf
    if not (
        isinstance(value, list | tuple)
        and len(value) == 3
        and all(type(each) in (int, float) and least < each < 256 for each in value)
    ):
        raise CheckpointError(
            f"{path}: {name} is {json.dumps(value)}; it must be three "
            f"{'positive ' if least == 0 else ''}numbers, for red, green and blue between 0 and 1; CLIP's are "
            f"{json.dumps(usual)}"
        )
    return tuple(float(each) for each in value)


def note_on_resizing(path: Path, name: str) -> None:
    """Says that a model's images were resized bilinearly, which they aren't here."""
    say(
        f"note: {path}: {name} is bilinear, and images are resized bicubically here: embeddings differ a "
        "little from those of the model's own library",
        error=True,
    )


def _settings(folder: Path) -> tuple[Path, dict] | None:
    """The file with the settings, chosen as in Transformers, and its content."""
    path = folder / "processor_config.json"
    if path.is_file():
        settings = read_json(path).get("image_processor")
        if isinstance(settings, dict) and settings:
            return path, settings
        if settings:
            raise CheckpointError(f"{path}: image_processor isn't an object; copy the file again")
    path = folder / "preprocessor_config.json"
    return (path, read_json(path)) if path.is_file() else None


def _is_anothers(settings: dict) -> bool:
    kind = settings.get("image_processor_type") or settings.get("feature_extractor_type")
    return kind is not None and not str(kind).startswith("CLIP")


def _fit(path: Path, settings: dict, image_size: int) -> str:
    size, crop = settings.get("size"), settings.get("crop_size")
    crops = settings.get("do_center_crop", not _is_anothers(settings)) in (True, None)
    if isinstance(size, dict):
        size = {key: value for key, value in size.items() if value is not None}
    if settings.get("use_square_size") and isinstance(size, dict) and "shortest_edge" in size:
        size = dict.fromkeys(("height", "width"), size["shortest_edge"])  # an old form of the same
    if isinstance(size, dict) and size.keys() == {"height", "width"}:
        if any(not _close(side, image_size) for side in size.values()):
            _refuse(path, "size", settings["size"], {"shortest_edge": image_size})
        fit = "squash"
    else:
        side = size.get("shortest_edge") if isinstance(size, dict) else size
        alone = not isinstance(size, dict) or size.keys() == {"shortest_edge"}
        if size is not None and not (alone and _close(side, image_size)):
            _refuse(path, "size", settings["size"], {"shortest_edge": image_size})
        if isinstance(size, int) and _is_anothers(settings):
            _refuse(
                path, "size", size, {"shortest_edge": image_size}
            )  # ambiguous: it may mean either
        if not crops:
            _refuse(path, "do_center_crop", False, True)
        fit = "centre_crop"
    if crops and crop is not None:
        sides = [crop.get("height"), crop.get("width")] if isinstance(crop, dict) else [crop]
        if any(side is None or not _close(side, image_size) for side in sides):
            _refuse(path, "crop_size", crop, image_size)
    return fit


def _refuse(path: Path, name: str, value: Any, wanted: Any) -> None:
    raise CheckpointError(
        f"{path}: {name} is {json.dumps(value)}, but pictures are prepared with {json.dumps(wanted)} here, "
        "as for CLIP; this model can't be used"
    )


def _close(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, bool) or isinstance(found, bool):
        return found is wanted
    try:
        return np.shape(found) == np.shape(wanted) and np.allclose(found, wanted, rtol=0, atol=1e-6)
    except (TypeError, ValueError, OverflowError):
        return False
