"""Whether weights fit the run that is to start from them: sizes of the model, and how inputs are prepared."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scenarioclip_jax.checkpoint import CheckpointError, ModelSpec
from scenarioclip_jax.console import say
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.interop.hub import local_folder
from scenarioclip_jax.interop.label_normalizer import as_if_exported
from scenarioclip_jax.models.scenario_clip import Parts, parts_of, pools
from scenarioclip_jax.models.towers import POOLINGS
from scenarioclip_jax.shell import to_paste


def tokenizer_of(folder: Path) -> Tokenizer | None:
    """The tokenizer of a run's or a converted model's folder; None if it has none."""
    if not (folder / "tokenizer.json").is_file():
        return None
    try:
        return Tokenizer.load(folder / "tokenizer.json")
    except (FileNotFoundError, ValueError) as error:
        raise CheckpointError(f"{folder}: its tokenizer can't be used: {error}") from None


def compare_inputs(
    source: str,
    model: dict[str, Any],
    spec: ModelSpec,
    theirs: Tokenizer | None,
    prepared: Mapping[str, str | None],
    lengths: Mapping[str, int] | None,
    ours: Tokenizer | None,
    *,
    trained: bool,
) -> None:
    """Raises CheckpointError if the weights' inputs were prepared differently than the run's.

    Weights that were never trained for three levels (`trained` False: plain CLIP, or converted from it) may
    start a run with any `patch_packing`, `fit` and `region_style`, since the run trains them for it.
    """
    different = []
    if ours and theirs:
        text = theirs.difference(as_if_exported(ours, theirs))
        if text is not None:
            path = local_folder(source) / "tokenizer.json"
            different.append(
                f"the run's tokenizer isn't that of the weights (they differ in {text!r}), whose token "
                "embeddings are of other words: set "
                + to_paste(f"--config.data.tokenizer={path if path.is_file() else source}")
            )
    packed, packs = (bool(each.get("patch_packing", False)) for each in (spec.model, model))
    meant = "; or, if the change is meant, change it in a copy of the weights' folder "
    meant += "(model.json or config.json)"
    if trained and packed != packs:
        different.append(
            f"the weights were trained with patch_packing={packed}: set config.model.patch_packing={packed}"
            + meant
        )
    for name, run in prepared.items():
        weights = getattr(spec, name)
        if run is None or run == weights:
            continue
        said = f"the weights were trained with {name}={weights!r}: set config.data.{name}={weights}"
        if trained:
            different.append(said + meant)
        else:
            say(f"note: {source}: {said}, unless {run} is meant")
    if different:
        raise CheckpointError(f"{source}: " + "; ".join(different))
    longer = [
        f"{level} {length} (was {spec.lengths[level]})"
        for level, length in (lengths or {}).items()
        if trained and length > spec.lengths.get(level, length)
    ]
    if longer:
        say(
            f"note: {source}: the run's texts may be longer than any that the weights were trained with: "
            + ", ".join(longer)
        )


def compare_models(source: str, model: dict[str, Any], found: dict[str, Any]) -> None:
    """Raises CheckpointError that lists how the weights' model differs from the one to be built."""
    different = []

    def compare(key: str, ours: Any, theirs: Any) -> None:
        same = math.isclose(ours, theirs) if isinstance(theirs, float) else ours == theirs
        if not same:
            different.append(
                f"{key} is {theirs} in the weights and {ours} in the model to be built"
            )

    if "arch" in found and _parts(found) != _parts(model):
        compare("arch", model["arch"], found["arch"])
        compare("model.regions", model.get("regions", "views"), found.get("regions", "views"))
    if "arch" in found and pools(found) and pools(model):
        for key, default in {"object_parts": 1, "ends_as_objects": False}.items():
            compare(f"model.{key}", model.get(key, default), found.get(key, default))
    if "embed_dim" in found:
        compare("model.embed_dim", model["embed_dim"], found["embed_dim"])
    for tower in ("vision", "text"):
        defaults = {"activation": "quick_gelu", "eps": 1e-5, "pooling": POOLINGS[tower][0]}
        ours, theirs = defaults | dict(model[tower]), defaults | dict(found[tower])
        for field in theirs:
            if field != "stem_blocks":
                compare(f"model.{tower}.{field}", ours[field], theirs[field])
    if different:
        resize = "model.vision.image_size" in " ".join(different)
        raise CheckpointError(
            f"{source} doesn't fit: "
            + "; ".join(different)
            + ". Change the config"
            + (
                ", or convert the weights with from-huggingface --image-size and name the result"
                if resize and "arch" not in found
                else ""
            )
        )


def _parts(model: Mapping[str, Any]) -> tuple[bool, list[Parts]]:
    """Which towers and heads a model has, and whether it pools regions."""
    pooled = pools(model)
    return pooled, [parts_of(model["arch"], m, pooled=pooled) for m in ("vision", "text")]
