"""Reads a CLIP model in Hugging Face's format without PyTorch: sizes, weights, tokenizer, image settings."""

import functools
import re
from pathlib import Path
from typing import Any

from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.console import say
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.interop.clip_model import (
    TOWERS,
    ClipModel,
    assemble,
)
from scenarioclip_jax.interop.image_settings import read_image_settings
from scenarioclip_jax.interop.weights import (
    Weights,
    check_sizes,
    open_folder,
    read_json,
)
from scenarioclip_jax.models.layers import ACTIVATIONS
from scenarioclip_jax.models.towers import TextConfig, VisionConfig

# Ours -> theirs, in `vision_config` and `text_config`.
COMMON_FIELDS = {
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp_dim": "intermediate_size",
    "activation": "hidden_act",
    "eps": "layer_norm_eps",
}
FIELDS = {
    "vision": COMMON_FIELDS | {"image_size": "image_size", "patch_size": "patch_size"},
    "text": COMMON_FIELDS
    | {
        "vocab_size": "vocab_size",
        "max_length": "max_position_embeddings",
        "eos_id": "eos_token_id",
    },
}
# Until 2023 every CLIP config had 2, whatever the tokenizer; Transformers then pools at the highest id.
LEGACY_EOS = 2
# Prefixes that wrappers add to names: DistributedDataParallel, torch.compile, Lightning, users' modules.
WRAPPERS = re.compile(r"((module|_orig_mod|model|clip|clip_model|net)\.)+")
# Other parameters that training leaves in a file; CLIP's embeddings don't use them.
EXTRA = re.compile(r"(classifier|fc|head|loss|criterion)\..*|logit_bias|.*position_ids")
# model_type -> a description of such models, for those that people try.
OTHER_TYPES = {
    "clip_vision_model": "a vision tower alone; texts need theirs: give the whole CLIP model, or a folder with "
    "one tower each in vision and text",
    "clip_text_model": "a text tower alone; pictures need theirs: give the whole CLIP model, or a folder with "
    "one tower each in vision and text",
    "siglip2": "SigLIP 2 for any aspect, which cuts photos in another way; those of fixed sizes can be read, "
    "such as google/siglip2-base-patch16-224",
    "metaclip_2": "MetaCLIP 2, whose text tower isn't CLIP's; the first MetaCLIP works",
    "scenarioclip": "a folder for PyTorch of ScenarioCLIP: name it as config.init_from, or open it with "
    "scenarioclip_jax.load",
}


def open_model(folder: Path, name: str) -> ClipModel:
    """Opens a folder with a CLIP model, or with one tower each in `vision` and `text`.

    Args:
      name: The user's name for it.

    Raises:
      CheckpointError: There is nothing usable. The message names file and field, and what to do.
    """
    tokenizer = read_tokenizer(folder)
    if (folder / "config.json").is_file():
        sizes, projection_dim = read_config(folder / "config.json", tokenizer)
        weights = _whole_model(open_folder(folder))
    else:
        sizes, projection_dim = _tower_configs(folder, tokenizer)
        weights = _separate_towers(folder)
    weights = _without_extra(weights, folder)
    remedy = (
        "Weights and config.json must belong to the same CLIP model. (vision. and text. stand for "
        "vision_model. and text_model. in the file.)"
    )
    images = read_image_settings(folder, sizes["vision"]["image_size"])
    return assemble(name, folder, sizes, projection_dim, weights, tokenizer, images, remedy=remedy)


def read_config(path: Path, tokenizer: Tokenizer | None) -> tuple[dict[str, dict], int]:
    """Reads the sizes of both towers and of the projection from the config.json of a CLIP model.

    Raises:
      CheckpointError: It belongs to another kind of model, or to a CLIP that our towers don't support.
    """
    values = read_json(path)
    if values.get("model_type") != "clip":
        other = OTHER_TYPES.get(str(values.get("model_type")))
        raise CheckpointError(
            f"{path}: model_type is {values.get('model_type')!r}; only models of type 'clip' can be read: CLIP "
            "of OpenAI, LAION, DataComp or MetaCLIP with ViT towers, and models fine-tuned from these"
            + (f". This is {other}" if other else "")
        )
    from transformers import CLIPConfig  # imported late because it takes seconds

    config = build_config(CLIPConfig, values, path)
    towers = {"vision": config.vision_config, "text": config.text_config}
    sizes = {tower: tower_sizes(towers[tower], tower, path) for tower in TOWERS}
    _settle_eos(sizes["text"], tokenizer, path)
    return sizes, config.projection_dim


def _tower_configs(folder: Path, tokenizer: Tokenizer | None) -> tuple[dict[str, dict], int]:
    import transformers

    kinds = {"vision": transformers.CLIPVisionConfig, "text": transformers.CLIPTextConfig}
    sizes, projection_dim = {}, 0
    for tower, kind in kinds.items():
        path = folder / tower / "config.json"
        values = read_json(path)
        if values.get("model_type") != kind.model_type:
            raise CheckpointError(
                f"{path}: model_type is {values.get('model_type')!r}, expected {kind.model_type!r}"
            )
        config = build_config(kind, values, path)
        sizes[tower] = tower_sizes(config, tower, path)
        projection_dim = config.projection_dim
    _settle_eos(sizes["text"], tokenizer, folder / "text" / "config.json")
    return sizes, projection_dim


def build_config(kind, values: dict, path: Path):
    """Builds a Transformers config, which knows the defaults of fields that the file omits."""
    try:
        return kind.from_dict(values)
    except Exception as error:  # its validation has its own classes
        raise CheckpointError(f"{path}: {error}") from None


def tower_sizes(config, tower: str, path: Path, **more: Any) -> dict[str, Any]:
    """The fields of `VisionConfig` or `TextConfig` but `stem_blocks`, from a Transformers config.

    Args:
      more: Further fields, which the config doesn't have.

    Raises:
      CheckpointError: A field has a value that our towers don't support.
    """
    sizes = {ours: getattr(config, theirs) for ours, theirs in FIELDS[tower].items()} | more

    def refuse(theirs: str, allowed: str) -> None:
        value = getattr(config, theirs)
        raise CheckpointError(
            f"{path}: {theirs} of the {tower} tower is {value!r}, must be {allowed}"
        )

    for ours in ("image_size", "patch_size"):
        if isinstance(sizes.get(ours), (list, tuple)):
            if len({str(side) for side in sizes[ours]}) != 1:
                refuse(ours, "square")
            sizes[ours] = sizes[ours][0]
    if str(sizes["activation"]) not in ACTIVATIONS:
        refuse("hidden_act", f"one of {', '.join(ACTIVATIONS)}")
    if tower == "vision" and config.num_channels != 3:
        refuse("num_channels", "3")
    if isinstance(sizes.get("eos_id"), (list, tuple)):
        if len(sizes["eos_id"]) != 1:
            refuse("eos_token_id", "one id")
        sizes["eos_id"] = sizes["eos_id"][0]
    check_sizes(sizes, f"{path}: {tower} tower")
    try:
        {"vision": VisionConfig, "text": TextConfig}[tower](**sizes, stem_blocks=0)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {tower} tower: {error}") from None
    return sizes


def _settle_eos(text: dict[str, Any], tokenizer: Tokenizer | None, path: Path) -> None:
    """Sets `eos_id` to the id that texts really end with.

    If the config has LEGACY_EOS, Transformers pools at the first highest id. That is the end of the text if the
    end-of-text token has the vocabulary's last id, as in CLIP's own.
    """
    last = text["vocab_size"] - 1
    if tokenizer is None:
        text["eos_id"] = last if text["eos_id"] == LEGACY_EOS else text["eos_id"]
        return
    if tokenizer.vocab_size > text["vocab_size"]:
        raise CheckpointError(
            f"{path}: vocab_size is {text['vocab_size']}, but the tokenizer beside it has "
            f"{tokenizer.vocab_size} tokens; they don't belong together"
        )
    expected = tokenizer.vocab_size - 1 if text["eos_id"] == LEGACY_EOS else text["eos_id"]
    if tokenizer.eos_id != expected:
        legacy = text["eos_id"] == LEGACY_EOS
        raise CheckpointError(
            f"{path}: eos_token_id is {text['eos_id']}"
            f"{' (which means: pool at the highest id)' if legacy else ''}, but the tokenizer beside it "
            f"ends a text with {tokenizer.eos_id}; correct eos_token_id or the tokenizer"
        )
    text["eos_id"] = tokenizer.eos_id


def _strip(name: str, tower: str) -> str:
    while name.startswith(f"{tower}_model."):
        name = name.removeprefix(f"{tower}_model.")
    return name


def _without_extra(weights: Weights, folder: Path) -> Weights:
    """Removes and names what training left beside the weights; makes the logit scale a scalar."""
    extra = [name for name in weights if EXTRA.fullmatch(name)]
    if named := [
        name for name in extra if not name.endswith("position_ids")
    ]:  # those are meaningless
        say(f"note: {folder}: left out {', '.join(sorted(named))}, no part of CLIP", error=True)
    weights = weights.renamed(lambda name: None if name in extra else name)
    if weights.shapes.get("logit_scale") != (1,):
        return weights
    return Weights(
        weights.shapes | {"logit_scale": ()},
        lambda name: weights[name].reshape(()) if name == "logit_scale" else weights[name],
    )


def _whole_model(weights: Weights) -> Weights:
    def rename(name: str) -> str:
        name = name[match.end() :] if (match := WRAPPERS.match(name)) else name
        for tower in TOWERS:
            if name.startswith(f"{tower}_model."):
                return f"{tower}.{_strip(name, tower)}"
        return name

    return weights.renamed(rename)


def _separate_towers(folder: Path) -> Weights:
    parts = {tower: open_folder(folder / tower) for tower in TOWERS}
    parts = {
        tower: part.renamed(
            functools.partial(lambda tower, n: f"{tower}.{_strip(n, tower)}", tower)
        )
        for tower, part in parts.items()
    }
    shapes = {name: shape for part in parts.values() for name, shape in part.shapes.items()}
    return Weights(shapes, lambda name: parts[name.split(".", 1)[0]][name])


def read_tokenizer(folder: Path) -> Tokenizer | None:
    """The tokenizer of a folder; None if it has none; CheckpointError if it can't be used."""
    names = ("tokenizer.json", "vocab.json")
    if not any((folder / name).is_file() for name in names):
        return None
    try:
        return Tokenizer.load(folder)
    except (FileNotFoundError, ValueError) as error:
        raise CheckpointError(f"{folder}: its tokenizer can't be used: {error}") from None
