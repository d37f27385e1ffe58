"""How a CLIP model in Hugging Face's format prepares its images: preprocessor_config.json."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.data.normalization import CLIP_MEAN, CLIP_STD
from scenarioclip_jax.interop.weights import read_json

BICUBIC = 3  # Pillow's number for it
# Steps that Transformers' CLIP processors do by default; other processors have other defaults.
STEPS = ("do_resize", "do_rescale", "do_normalize")
HARMLESS = ("do_center_crop", "do_convert_rgb", "do_reduce_labels")


def read_fit(folder: Path, image_size: int) -> str:
    """Reads how images are made square, see `data.settings.FITS`; `centre_crop` if no file says.

    Raises:
      CheckpointError: Images are not prepared in CLIP's way. The message names file and field.
    """
    found = _settings(folder)
    if found is None:
        return "centre_crop"
    path, settings = found
    expected = {
        "image_mean": list(CLIP_MEAN),
        "image_std": list(CLIP_STD),
        "resample": BICUBIC,
        "rescale_factor": 1 / 255,
        **dict.fromkeys(STEPS, True),
    }
    others = _is_anothers(settings)
    for name, wanted in expected.items():
        value = settings.get(name)
        if value is None and others and name not in ("rescale_factor", *STEPS):
            raise CheckpointError(
                f"{path}: it has no {name}, and the default of {settings['image_processor_type']} isn't "
                f"CLIP's; write the value that the model was trained with, {json.dumps(wanted)} if it is a "
                "CLIP model like others"
            )
        if value is not None and not _close(value, wanted):
            _refuse(path, name, value, wanted)
    for name, value in settings.items():
        if (
            name.startswith("do_")
            and name not in (*STEPS, *HARMLESS)
            and value not in (None, False)
        ):
            _refuse(path, name, value, False)
    return _fit(path, settings, image_size)


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
