"""The folder that `to_pytorch` writes: its config.json, and how to read it back.

config.json            read by AutoModel; its fields include our `ModelSpec`
model*.safetensors     with the published parameter names; a shared stem is written for every branch
tokenizer.json, …      read by AutoProcessor
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from scenarioclip_jax.checkpoint import CheckpointError, ModelSpec
from scenarioclip_jax.data.region_styles import STYLES
from scenarioclip_jax.data.settings import FITS
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.describe.calibration import LEAST, MOST
from scenarioclip_jax.interop import reference
from scenarioclip_jax.interop.weights import check_names, check_sizes, open_folder, read_json
from scenarioclip_jax.models.regions import REGIONS
from scenarioclip_jax.models.scenario_clip import ARCHITECTURES, levels_of, pools
from scenarioclip_jax.models.towers import TextConfig, VisionConfig, fields_of

MODEL_TYPE = "scenarioclip"
MODEL_FIELDS = (
    "arch",
    "vision",
    "text",
    "embed_dim",
    "share_stem",
    "patch_packing",
    "regions",
    "object_parts",
    "ends_as_objects",
    "logit_bias",
)
# What folders of before there were these fields mean.
BEFORE = {"region_style": "stored", "regions": "views", "object_parts": 1, "temperatures": {}}
BEFORE |= {"ends_as_objects": False}
MODELING, PROCESSING = "modeling_scenarioclip", "processing_scenarioclip"
# Modules of the model, which import each other.
MODELS = (MODELING, "towers_scenarioclip", "regions_scenarioclip", "describes_scenarioclip")
# Modules of the processor.
PROCESSORS = (PROCESSING, "encoder_scenarioclip", "finder_scenarioclip")


def config_json(
    spec: ModelSpec, dtype: str, temperatures: Mapping[str, float] = MappingProxyType({})
) -> dict[str, Any]:
    """The content of config.json for a model."""
    vision, text = VisionConfig(**spec.model["vision"]), TextConfig(**spec.model["text"])
    return {
        "model_type": MODEL_TYPE,
        "architectures": ["ScenarioCLIPModel"],
        "auto_map": {
            "AutoConfig": f"{MODELING}.ScenarioCLIPConfig",
            "AutoModel": f"{MODELING}.ScenarioCLIPModel",
            # For pipeline("zero-shot-image-classification").
            "AutoModelForZeroShotImageClassification": f"{MODELING}.ScenarioCLIPModel",
        },
        "arch": spec.model["arch"],
        "vision": fields_of(vision),
        "text": fields_of(text),
        "embed_dim": spec.model.get("embed_dim", 512),
        "share_stem": spec.model.get("share_stem", False),
        "patch_packing": spec.model.get("patch_packing", False),
        "regions": spec.model.get("regions", "views"),
        "object_parts": spec.model.get("object_parts", 1),
        "ends_as_objects": spec.model.get("ends_as_objects", False),
        "logit_bias": spec.model.get("logit_bias", False),
        "levels": list(levels_of(spec.model["arch"])),
        "lengths": spec.lengths,
        "fit": spec.fit,
        "region_style": spec.region_style,
        "temperatures": dict(temperatures),
        "torch_dtype": dtype,
    }


def is_exported(folder: Path) -> bool:
    """Whether a folder was written by `to_pytorch`."""
    path = folder / "config.json"
    return path.is_file() and read_json(path).get("model_type") == MODEL_TYPE


def temperatures(folder: Path) -> dict[str, float]:
    """The temperatures of a folder's model by level, see `describe.calibrate`; empty if it isn't calibrated."""
    path = folder / "config.json"
    values = BEFORE | read_json(path)
    _check_fields(values, path)
    return dict(values["temperatures"])


def _check_fields(values: dict[str, Any], path: Path) -> None:
    """Raises CheckpointError that names a field with an impossible value."""

    def require(holds: bool, name: str, wanted: str) -> None:
        if not holds:
            raise CheckpointError(
                f"{path}: {name} is {str(values[name])[:80]!r}; it must be {wanted}; write the folder "
                "again with to-pytorch"
            )

    require(values["arch"] in ARCHITECTURES, "arch", f"one of {', '.join(ARCHITECTURES)}")
    require(values["regions"] in REGIONS, "regions", f"one of {', '.join(REGIONS)}")
    parts = values["object_parts"]
    require(type(parts) is int and 0 < parts < 100, "object_parts", "a whole number from 1 to 99")
    require(values["fit"] in list(FITS), "fit", f"one of {', '.join(FITS)}")
    styles = list(STYLES)
    require(values["region_style"] in styles, "region_style", f"one of {', '.join(styles)}")
    for name in ("share_stem", "patch_packing", "logit_bias", "ends_as_objects"):
        require(isinstance(values[name], bool), name, "true or false")
    require(
        type(values["embed_dim"]) is int and 0 < values["embed_dim"] < 10**9,
        "embed_dim",
        "a whole number, at least 1",
    )
    lengths = values["lengths"]
    require(
        isinstance(lengths, dict)
        and all(type(n) is int and 2 < n < 10**9 for n in lengths.values()),
        "lengths",
        "tokens by level, at least 3 each",
    )
    kept = values["temperatures"]
    require(
        isinstance(kept, dict)
        and all(type(t) in (int, float) and LEAST <= t <= MOST for t in kept.values()),
        "temperatures",
        f"numbers from {LEAST} to {MOST} by level",
    )
    for tower in ("vision", "text"):
        require(isinstance(values[tower], dict), tower, "an object")
        check_sizes(values[tower], f"{path}: {tower}")


def read(folder: Path) -> tuple[ModelSpec, dict[str, np.ndarray], Tokenizer]:
    """Reads a folder for PyTorch as one of our models; arrays keep the dtype that they are stored in.

    Raises:
      CheckpointError: A file is missing or damaged, or weights and config.json don't belong together.
    """
    path = folder / "config.json"
    values = BEFORE | read_json(path)
    absent = [name for name in (*MODEL_FIELDS, "lengths", "fit") if name not in values]
    if values.get("model_type") != MODEL_TYPE or absent:
        raise CheckpointError(
            f"{path}: not the config.json of a folder for PyTorch"
            f"{f', it has no {absent[0]}' if absent else ''}; write it again with to-pytorch"
        )
    _check_fields(values, path)
    try:
        vision, text = VisionConfig(**values["vision"]), TextConfig(**values["text"])
        tokenizer = Tokenizer.load(folder / "tokenizer.json")
    except (TypeError, ValueError, FileNotFoundError) as error:
        raise CheckpointError(f"{folder}: {error}; write it again with to-pytorch") from None
    weights = open_folder(folder).renamed(reference.plain)
    check_names(
        weights.shapes,
        reference.expected_shapes(
            values["arch"],
            vision,
            text,
            values["embed_dim"],
            pooled=pools(values),
            object_parts=values["object_parts"],
            ends_as_objects=values["ends_as_objects"],
            logit_bias=values["logit_bias"],
        ),
        where=str(folder),
        remedy="Weights and config.json must come from the same to-pytorch; write the folder again.",
    )
    try:
        params = reference.to_ours(
            weights,
            values["arch"],
            vision,
            text,
            pooled=pools(values),
            share_stem=values["share_stem"],
        )
    except ValueError as error:  # the stems were changed elsewhere
        raise CheckpointError(
            f"{path}: share_stem is true, but its levels' stems were changed one by one in PyTorch, and differ "
            f"({str(error).split(';')[0]}). Set share_stem to false in this file to keep them, or freeze the "
            "stems while fine-tuning"
        ) from None
    model = {name: values[name] for name in MODEL_FIELDS}
    return (
        ModelSpec(model, values["lengths"], values["fit"], values["region_style"]),
        params,
        tokenizer,
    )
