"""Reads a CLIP model in open_clip's format without open_clip: sizes, weights, image settings.

Models of LAION, DataComp, DFN, MetaCLIP and many fine-tuned ones come in it. Its configs leave out what has its
default, so the defaults stand here; what asks for another architecture than CLIP's is refused by its field.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.console import say
from scenarioclip_jax.data.normalization import CLIP_MEAN, CLIP_STD
from scenarioclip_jax.interop.clip_model import (
    ClipModel,
    ImageSettings,
    assemble,
)
from scenarioclip_jax.interop.huggingface import WRAPPERS, read_tokenizer
from scenarioclip_jax.interop.image_settings import check_channels, note_on_resizing
from scenarioclip_jax.interop.weights import (
    Weights,
    check_sizes,
    from_tensors,
    load_torch,
    open_safetensors,
    read_json,
)

CONFIG = "open_clip_config.json"
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
# Fields of `vision_cfg` and `text_cfg` with the values that plain CLIP has, which are open_clip's defaults.
PLAIN = {
    "vision": {
        "ls_init_value": None,
        "attentional_pool": False,
        "no_ln_pre": False,
        "pos_embed_type": "learnable",
        "final_ln_after_pool": False,
        "pool_type": "tok",
        "timm_model_name": None,
    },
    "text": {
        "ls_init_value": None,
        "embed_cls": False,
        "no_causal_mask": False,
        "final_ln_after_pool": False,
        "pool_type": "argmax",
        "proj_bias": False,
        "proj_type": "linear",
        "hf_model_name": None,
    },
}
BLOCK_VARIANTS = ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner")
BLOCK_VARIANTS += ("scale_attn", "scale_fc")
# Fields without effect on embeddings of a trained model.
HARMLESS = {"patch_dropout", "output_tokens", "timm_model_pretrained", "hf_model_pretrained"}
HARMLESS |= {
    "n_queries",
    "attn_pooler_queries",
    "attn_pooler_heads",
    "timm_pool",
    "timm_proj",
    "timm_proj_bias",
}
HARMLESS |= {"timm_drop", "timm_drop_path", "pad_id", "eos_id", "tokenizer_mode", "block_type"}
HARMLESS |= {"hf_tokenizer_name", "tokenizer_kwargs", "hf_proj_type", "hf_pooler_type"}
SIZES = {
    "vision": {"image_size": 224, "patch_size": 16, "width": 768, "layers": 12, "head_width": 64},
    "text": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
}
FITS = {"shortest": "centre_crop", "squash": "squash", "longest": "contain"}

# Theirs -> Hugging Face's, in a tower and in a block.
VISION_NAMES = {
    "class_embedding": "embeddings.class_embedding",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_pre.weight": "pre_layrnorm.weight",
    "ln_pre.bias": "pre_layrnorm.bias",
    "ln_post.weight": "post_layernorm.weight",
    "ln_post.bias": "post_layernorm.bias",
}
TEXT_NAMES = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
BLOCK_NAMES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)\.(weight|bias)")
JOINED = re.compile(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)")
LEFT_OUT = re.compile(r"(.*\.)?(attn_mask|position_ids|num_batches_tracked)|logit_bias")


def open_model(folder: Path, name: str) -> ClipModel:
    """Opens a folder with open_clip_config.json and one file of weights.

    Args:
      name: The user's name for it.

    Raises:
      CheckpointError: The model isn't CLIP's architecture, or a file is missing or damaged.
    """
    path = folder / CONFIG
    config = read_json(path)
    model = _part(config, "model_cfg", path)
    sizes = {tower: _sizes(model, tower, path) for tower in SIZES}
    sizes["text"]["eos_id"] = sizes["text"]["vocab_size"] - 1  # it pools at the highest id
    projection_dim = model.get("embed_dim")
    check_sizes({"embed_dim": projection_dim}, f"{path}: model_cfg")
    assert isinstance(projection_dim, int)  # it was checked
    weights = _renamed(_open_weights(_weights_file(folder)))
    remedy = (
        f"The weights and {CONFIG} must belong to the same model. (Names are those of Hugging Face's CLIP, "
        "with vision. for visual.)"
    )
    images = _image_settings(config, path, sizes["vision"]["image_size"])
    tokenizer = read_tokenizer(folder)
    if tokenizer and tokenizer.vocab_size > sizes["text"]["vocab_size"]:
        raise CheckpointError(
            f"{path}: vocab_size of text_cfg is {sizes['text']['vocab_size']}, but the tokenizer beside it has "
            f"{tokenizer.vocab_size} tokens; they don't belong together"
        )
    if tokenizer and tokenizer.eos_id != tokenizer.vocab_size - 1:
        raise CheckpointError(
            f"{folder}: open_clip pools at a text's highest id, but the tokenizer ends a text with "
            f"{tokenizer.eos_id} of {tokenizer.vocab_size}; put CLIP's tokenizer there"
        )
    if tokenizer:
        sizes["text"]["eos_id"] = tokenizer.eos_id
    return assemble(name, folder, sizes, projection_dim, weights, tokenizer, images, remedy=remedy)


def _part(config: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    part = config.get(name)
    if not isinstance(part, dict):
        raise CheckpointError(
            f"{path}: it has no object {name}; copy the file again, or write it as open_clip does"
        )
    return part


def _sizes(model: dict[str, Any], tower: str, path: Path) -> dict[str, Any]:
    """The fields of `VisionConfig` or `TextConfig`, but for `eos_id` and `stem_blocks`."""
    where = f"{path}: {tower}_cfg"
    config = {**SIZES[tower], "mlp_ratio": 4.0, **_part(model, f"{tower}_cfg", path)}
    _check_plain(config, tower, where)
    image_size = config.get("image_size")
    if isinstance(image_size, list) and len(set(map(str, image_size))) == 1:
        config["image_size"] = image_size[0]
    numbers = {name: config[name] for name in SIZES[tower]}
    check_sizes(numbers, where)
    ratio = config["mlp_ratio"]
    if type(ratio) not in (int, float) or not 0 < ratio <= 100:
        raise CheckpointError(f"{where}: mlp_ratio is {ratio!r}; it must be a number up to 100")
    width = config["width"]
    sizes = {"width": width, "depth": config["layers"], "mlp_dim": int(width * ratio)}
    sizes |= {"activation": "quick_gelu" if model.get("quick_gelu") else "gelu"}
    if eps := (config.get("norm_kwargs") or {}).get("eps"):
        sizes["eps"] = eps
    if tower == "vision":
        sizes |= {"heads": width // config["head_width"]}
        sizes |= {name: config[name] for name in ("image_size", "patch_size")}
    else:
        sizes |= {"heads": config["heads"], "max_length": config["context_length"]}
        sizes |= {"vocab_size": config["vocab_size"]}
    check_sizes(sizes, where)
    if width % sizes["heads"]:
        raise CheckpointError(f"{where}: width {width} is not a multiple of its heads")
    if tower == "vision" and sizes["image_size"] % sizes["patch_size"]:
        raise CheckpointError(
            f"{where}: image_size {sizes['image_size']} is not a multiple of patch_size {sizes['patch_size']}"
        )
    return sizes


def _check_plain(config: dict[str, Any], tower: str, where: str) -> None:
    """Raises CheckpointError for an architecture that isn't CLIP's."""
    known = {*SIZES[tower], *PLAIN[tower], *BLOCK_VARIANTS, *HARMLESS, "mlp_ratio"}
    known |= {"norm_kwargs", "act_kwargs"}
    for name, value in config.items():
        usual = PLAIN[tower].get(name, False if name in BLOCK_VARIANTS else None)
        odd = (name not in known and value not in (None, False)) or (
            name in (*PLAIN[tower], *BLOCK_VARIANTS) and value != usual
        )
        odd = odd or (name == "norm_kwargs" and set(value or ()) - {"eps"})
        odd = odd or (name == "tokenizer_kwargs" and (value or {}).get("clean") == "canonicalize")
        if odd or (name == "act_kwargs" and value):
            raise CheckpointError(
                f"{where}: {name} is {json.dumps(value)}; only CLIP's own architecture can be read from "
                "open_clip's format: ViT towers with a class token, and a causal text tower. SigLIP can be "
                "read in Hugging Face's format, such as google/siglip-base-patch16-224"
            )


def _image_settings(config: Mapping[str, Any], path: Path, image_size: int) -> ImageSettings:
    settings = config.get("preprocess_cfg") or {}
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path}: preprocess_cfg isn't an object; copy the file again")
    size = settings.get("size", image_size)
    sides = size if isinstance(size, list) else [size]
    wanted = {
        "size": (all(side == image_size for side in sides), image_size),
        "mode": (settings.get("mode", "RGB") == "RGB", "RGB"),
        "interpolation": (
            settings.get("interpolation", "bicubic") in ("bicubic", "bilinear", "random"),
            "bicubic",
        ),
        "resize_mode": (settings.get("resize_mode", "shortest") in FITS, "shortest"),
    }
    for name, (right, usual) in wanted.items():
        if not right:
            raise CheckpointError(
                f"{path}: {name} of preprocess_cfg is {json.dumps(settings[name])}, but pictures are prepared "
                f"with {json.dumps(usual)} here, as for CLIP; this model can't be used"
            )
    if settings.get("interpolation") == "bilinear":
        note_on_resizing(path, "interpolation")
    return ImageSettings(
        FITS[settings.get("resize_mode", "shortest")],
        check_channels(path, "mean", settings.get("mean"), CLIP_MEAN),
        check_channels(path, "std", settings.get("std"), CLIP_STD),
    )


def _weights_file(folder: Path) -> Path:
    files = sorted(each for each in folder.iterdir() if each.suffix in SUFFIXES)
    own = [each for each in files if each.stem in ("open_clip_model", "open_clip_pytorch_model")]
    if chosen := own or files:
        # Both formats of the same weights lie in some repositories; safetensors need no PyTorch.
        chosen = [each for each in chosen if each.suffix == ".safetensors"] or chosen
    if len(chosen) == 1:
        return chosen[0]
    what = ", ".join(each.name for each in chosen) or f"no file {', '.join(SUFFIXES)}"
    raise CheckpointError(
        f"{folder}: there has to be one file with the weights beside {CONFIG}, and there is {what}; "
        "put the one you mean into a folder of its own, with the same config and tokenizer"
    )


def _open_weights(path: Path) -> Weights:
    """The arrays of a model, or of a checkpoint of open_clip's training, which has them in `state_dict`."""
    if path.suffix == ".safetensors":
        return open_safetensors(path)
    state = load_torch(path)
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    return from_tensors(state, where=str(path))


def _renamed(weights: Weights) -> Weights:
    """The same arrays in Hugging Face's names and layouts, with `vision.` and `text.` in front."""
    found = weights.renamed(_without_wrappers)
    if left := [name for name in found if name == "logit_bias"]:
        say(f"note: left out {left[0]}, which cosines don't need", error=True)
    shapes: dict[str, tuple[int, ...]] = {}
    source: dict[str, tuple[str, Any]] = {}  # ours -> theirs, and what is done with it
    for name, shape in found.shapes.items():
        if LEFT_OUT.fullmatch(name):
            continue
        for ours, new, change in _places(name, shape):
            shapes[ours], source[ours] = new, (name, change)
    return Weights(shapes, lambda ours: source[ours][1](found[source[ours][0]]))


def _without_wrappers(name: str) -> str:
    name = name[match.end() :] if (match := WRAPPERS.match(name)) else name
    return name.removeprefix(
        "text."
    )  # models with custom_text; others have their text tower at the top


def _places(name: str, shape: tuple[int, ...]) -> Iterable[tuple[str, tuple[int, ...], Any]]:
    """Where an array goes: names of Hugging Face's, with their shapes and how they are made of the array."""

    def same(value: np.ndarray) -> np.ndarray:
        return value

    if name in ("visual.proj", "text_projection"):  # [width, dim], as x @ proj
        yield (
            f"{'visual' if name[0] == 'v' else 'text'}_projection.weight",
            shape[::-1],
            np.transpose,
        )
        return
    if name == "logit_scale":
        yield name, (), lambda value: value.reshape(())
        return
    tower = "vision" if name.startswith("visual.") else "text"
    rest = name.removeprefix("visual.")
    if match := JOINED.fullmatch(rest):
        part = (shape[0] // 3, *shape[1:])
        for index, each in enumerate("qkv"):
            ours = f"{tower}.encoder.layers.{match[1]}.self_attn.{each}_proj.{match[2]}"
            yield ours, part, lambda value, index=index: np.split(value, 3)[index]
    elif (match := BLOCK.fullmatch(rest)) and match[2] in BLOCK_NAMES:
        yield (
            f"{tower}.encoder.layers.{match[1]}.{BLOCK_NAMES[match[2]]}.{match[3]}",
            shape,
            same,
        )
    else:
        names = VISION_NAMES if tower == "vision" else TEXT_NAMES
        yield f"{tower}.{names.get(rest, rest)}", shape, same


def advice(folder: Path) -> str | None:
    """What to write beside weights of open_clip's in a folder without its config; None if there are none."""
    for path in sorted(each for each in folder.iterdir() if each.suffix in SUFFIXES):
        try:
            shapes = _open_weights(path).renamed(_without_wrappers).shapes
        except CheckpointError:
            continue
        if "visual.conv1.weight" not in shapes or "visual.class_embedding" not in shapes:
            continue
        return (
            f"{path.name} is in open_clip's format: write {CONFIG} beside it with {_suggestion(shapes)}, and "
            "put CLIP's tokenizer there. quick_gelu is true for models that began as OpenAI's weights, as most "
            "fine-tuned ones did, and false for others; the sizes are those of the file"
        )
    return None


def _suggestion(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """A config for weights of these shapes, as JSON; heads are 64 wide, as in CLIP's own towers."""

    def depth(prefix: str) -> int:
        name = re.compile(re.escape(prefix) + r"transformer\.resblocks\.(\d+)\..*")
        return 1 + max((int(m[1]) for each in shapes if (m := name.fullmatch(each))), default=-1)

    width, _, patch, _ = shapes["visual.conv1.weight"]
    positions = shapes.get("visual.positional_embedding", (1,))[0] - 1
    vocabulary, text_width = shapes.get("token_embedding.weight", (0, 0))
    length = shapes.get("positional_embedding", (0,))[0]
    vision = {"image_size": round(positions**0.5) * patch, "layers": depth("visual.")}
    vision |= {"width": width, "patch_size": patch}
    text = {"context_length": length, "vocab_size": vocabulary, "width": text_width}
    text |= {"heads": max(1, text_width // 64), "layers": depth("")}
    model = {"embed_dim": shapes.get("visual.proj", (0, 0))[1], "quick_gelu": True}
    model |= {"vision_cfg": vision, "text_cfg": text}
    return json.dumps({"model_cfg": model, "preprocess_cfg": {}})
